"""Reasons of squeue why a job waits, in words."""

from __future__ import annotations

import pytest

from slurm.schedulers.slurm_reasons import reason_of


@pytest.mark.parametrize(
    ("text", "words", "stuck"),
    [
        ("Resources", "free resources", False),
        ("(Priority)", "higher priority", False),
        ("None", "has not looked at it yet", False),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2]", "down, drained or reserved", False),
        ("ReqNodeNotAvail, Reserved for maintenance", "down, drained or reserved", False),
        (
            "Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions",
            "are down, drained",
            False,
        ),
        ("(launch failed requeued held)", "a node could not start it", True),
        ("PartitionTimeLimit", "more time than its partition allows", True),
        ("BadConstraints", "no node has what it asks for", True),
        ("JobHeldUser", "`scontrol release`", False),
        ("JobHeldAdmin", "an administrator holds it", True),
        ("QOSMaxCpuPerUserLimit", "a limit of its QOS is reached", False),
        ("QOSMaxJobsPerUserLimit", "a limit of its QOS is reached", False),
        ("QOSMaxWallDurationPerJobLimit", "its QOS does not allow one job", True),
        ("QOSMinCpuNotSatisfied", "its QOS does not allow one job", True),
        ("QOSGrpCpuLimit", "a limit of its QOS is reached", False),
        ("QOSUsageThreshold", "a limit of its QOS is reached", False),
        ("AssocGrpCPUMinutesLimit", "a limit of its account or user is reached", False),
        ("AssocMaxWallDurationPerJobLimit", "its account or user does not allow one job", True),
        ("MaxCpuPerAccount", "a limit of its QOS is reached", False),
    ],
)
def test_a_reason_is_told_in_words(text: str, words: str, *, stuck: bool) -> None:
    found = reason_of(text)
    assert found is not None
    assert words in found.words
    assert found.stuck is stuck


@pytest.mark.parametrize("text", ["", "SomethingNew", "no room in the queue for it yet", "QOS", "Assoc", "Maximum"])
def test_an_unknown_reason_has_no_words(text: str) -> None:
    assert reason_of(text) is None
