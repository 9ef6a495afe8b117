"""Slurm's state names, and ours."""

from __future__ import annotations

import pytest

from slurm.protocol.states import JobState

# squeue(1) and sacct(1), JOB STATE CODES: the long word, the short one, whether such a job will never run again.
DOCUMENTED = [
    ("BOOT_FAIL", "BF", JobState.BOOT_FAIL, True),
    ("CANCELLED", "CA", JobState.CANCELLED, True),
    ("COMPLETED", "CD", JobState.COMPLETED, True),
    ("CONFIGURING", "CF", JobState.PENDING, False),
    ("COMPLETING", "CG", JobState.COMPLETING, False),
    ("DEADLINE", "DL", JobState.DEADLINE, True),
    ("FAILED", "F", JobState.FAILED, True),
    ("NODE_FAIL", "NF", JobState.NODE_FAIL, True),
    ("OUT_OF_MEMORY", "OOM", JobState.OUT_OF_MEMORY, True),
    ("PENDING", "PD", JobState.PENDING, False),
    ("PREEMPTED", "PR", JobState.PREEMPTED, True),
    ("RUNNING", "R", JobState.RUNNING, False),
    ("RESV_DEL_HOLD", "RD", JobState.PENDING, False),
    ("REQUEUE_FED", "RF", JobState.PENDING, False),
    ("REQUEUE_HOLD", "RH", JobState.PENDING, False),
    ("REQUEUED", "RQ", JobState.PENDING, False),
    ("RESIZING", "RS", JobState.RUNNING, False),
    ("REVOKED", "RV", JobState.PENDING, False),
    ("SIGNALING", "SI", JobState.RUNNING, False),
    ("SPECIAL_EXIT", "SE", JobState.PENDING, False),
    ("STAGE_OUT", "SO", JobState.RUNNING, False),
    ("STOPPED", "ST", JobState.SUSPENDED, False),
    ("SUSPENDED", "S", JobState.SUSPENDED, False),
    ("TIMEOUT", "TO", JobState.TIMEOUT, True),
]


@pytest.mark.parametrize(("long", "short", "state", "final"), DOCUMENTED)
def test_every_documented_name_has_its_state(long: str, short: str, state: JobState, final: bool) -> None:
    for word in (long, short, long.lower(), f" {long}\n", f"{long}+"):
        assert JobState.parse(word) is state
    assert state.final is final


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("CANCELLED by 1000", JobState.CANCELLED),
        ("CANCELLED+", JobState.CANCELLED),
        ("OUT_OF_ME+", JobState.OUT_OF_MEMORY),
    ],
)
def test_names_that_sacct_abbreviates_are_understood(words: str, state: JobState) -> None:
    assert JobState.parse(words) is state


@pytest.mark.parametrize("word", ["", "   ", "+", "HIBERNATING", "FAILED_OVER", "by 1000"])
def test_an_unknown_name_is_unknown_and_not_final(word: str) -> None:
    assert JobState.parse(word) is JobState.UNKNOWN
    assert not JobState.UNKNOWN.final


def test_a_state_is_written_as_slurm_writes_it() -> None:
    assert [str(state) for state in JobState] == [state.name for state in JobState]
    assert f"{JobState.NODE_FAIL}" == "NODE_FAIL"
