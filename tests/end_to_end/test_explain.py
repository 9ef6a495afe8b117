"""`slurm explain`: why jobs wait or have failed, and what to do."""

from __future__ import annotations

import getpass
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from slurm import Cluster, task
from slurm.cli.main import slurm
from slurm.errors import SubmissionRefused
from slurm.protocol.states import JobState
from slurm.testing import InlineCluster
from slurm.views.advice import explained
from slurm.views.overview import overviews
from testbed import SlurmTestbed
from waiting import until

if TYPE_CHECKING:
    from slurm import Job


BEGIN = "it waits for its earliest start; after a requeue, Slurm delays a job for some minutes"


@task(time="5", mem="100M")
def invert(x: int) -> float:
    return 1 / x


@task
def sleep() -> None:
    time.sleep(60)


def expected(job: Job[Any]) -> str:
    """The time in the last words of an explanation."""
    return (job.status().explanation or "").rpartition(" at ")[2]


def lines(cluster: Cluster, *arguments: str) -> list[str]:
    done = CliRunner().invoke(slurm, ["explain", *arguments, "--on", cluster.url])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_calls_that_failed_are_explained_by_their_errors(cluster: Cluster) -> None:
    jobs = invert.map([0, 1, 0, 2])
    jobs.exceptions(90)
    key = jobs.key
    assert lines(cluster, "last") == [
        f"{key}: 2 COMPLETED, 2 FAILED",
        "[0,2] FAILED: ZeroDivisionError: division by zero",
        (
            f"    `slurm logs '{key}[0]'` shows its output, `slurm replay '{key}[0]'` makes the call here, "
            f"and `slurm retry {key} --failed` submits it again"
        ),
    ]
    assert json.loads("\n".join(lines(cluster, key, "--json"))) == lines(cluster, key)
    first, second = lines(cluster, f"{key}[1]")
    assert first == f"{key}: 1 COMPLETED"
    assert second.startswith("all succeeded, took ")


def test_a_call_that_was_not_run_is_explained_by_what_it_waited_for(local: Cluster) -> None:
    first = invert(0)
    waiting = invert(first)
    until(lambda: waiting.status().state.final)
    own = f"DependencyFailed: {first.key}[0] failed: ZeroDivisionError: division by zero"
    advice = (
        f"    `slurm explain {first.key}` shows what it waited for. `slurm retry` waits for the same job again, so "
        "first correct what is wrong there, and then call both tasks again"
    )
    assert lines(local, waiting.key)[1:] == [f"CANCELLED: {own}", advice]
    waiting.exception(60)  # writes its outcome
    assert lines(local, waiting.key)[1:] == [f"CANCELLED: {own}", advice]
    again = CliRunner().invoke(slurm, ["retry", waiting.key, "--on", local.url])
    assert again.exit_code == 0
    job: Any = local.job(again.output.strip())
    job.exception(60)
    assert lines(local, job.key)[1:] == [f"FAILED: {own}", advice]
    assert job.logs().strip() == own


@pytest.mark.slurm
def test_a_job_that_waits_is_explained_by_the_reason(slurm_env: SlurmTestbed, root: str) -> None:
    with Cluster("slurm", root=root) as cluster:
        job = invert.with_options(begin="now+1hour")(1)
        until(lambda: job.status().reason == "BeginTime")
        assert lines(cluster, str(job.job_id)) == [
            f"{job.key}: 1 PENDING",
            f"PENDING, BeginTime: {BEGIN}, expected to start at {expected(job)}",
        ]
        job.cancel()
        assert job.exception(60) is not None
        assert lines(cluster, "last")[1:] == ["CANCELLED", f"    `slurm retry {job.key}` submits it again"]


@pytest.mark.slurm
def test_a_job_in_line_is_told_its_place_and_when_it_is_expected_to_start(slurm_env: SlurmTestbed, root: str) -> None:
    with Cluster("slurm", root=root) as cluster:
        whole = sleep.with_options(nodes=2, exclusive=True, time=10, launch="once")
        jobs = [whole() for _ in range(3)]
        until(lambda: "in front of it, expected" in (jobs[2].status().explanation or ""))
        assert cluster.command_counts().get("line") is None  # ordinary queries need no other command
        shown = lines(cluster, jobs[2].key)
        behind = f"2nd in line for debug, behind {str(jobs[1].job_id).partition('_')[0]} of {getpass.getuser()}"
        why = "PENDING, Priority: jobs of higher priority are in front of it, expected to start at "
        assert shown[1].startswith(why)
        assert shown[2] == f"    {behind}"
        assert "    1st in line for debug" in lines(cluster, jobs[1].key)


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("OUT_OF_MEMORY", "it asked for mem=100M, and its peak was not reported: `slurm retry {key} --failed --mem …`"),
        ("TIMEOUT", "it asked for time=5: `slurm retry {key} --failed --time …`"),
        ("NODE_FAIL", "a problem of the cluster: submit it again with `slurm retry {key} --failed`"),
        ("PREEMPTED", "a problem of the cluster"),
    ],
)
def test_each_end_has_advice(state: str, advice: str) -> None:
    with InlineCluster() as inline:
        inline.queue.play(state, task="invert", element=1)
        jobs = invert.map([1, 1, 1])
        jobs.exceptions(20)
        found = explained(overviews([jobs.part])[0])
    assert found[0] == f"{jobs.key}: 2 COMPLETED, 1 {JobState(state)}"
    assert found[1].startswith(f"[1] {state}")
    assert found[2].strip().startswith(advice.format(key=jobs.key))


@task
def reject(x: int) -> None:
    raise ValueError(f"{'abcdefgh'[x]} is wrong" if x < 8 else f"{x} is too large")


def test_similar_errors_are_together_and_advice_is_given_once(inline: InlineCluster) -> None:
    jobs = reject.map(range(12))
    jobs.exceptions(20)
    assert explained(overviews([jobs.part])[0]) == [
        f"{jobs.key}: 12 FAILED",
        "[8-11] FAILED: ValueError: 8 is too large, and 3 similar errors",
        *(f"[{index}] FAILED: ValueError: {'abcd'[index]} is wrong" for index in range(4)),
        "… 4 more errors, of 4 calls",
        (
            f"    `slurm logs '{jobs.key}[8]'` shows its output, `slurm replay '{jobs.key}[8]'` makes the call here, "
            f"and `slurm retry {jobs.key} --failed` submits it again"
        ),
    ]


@pytest.mark.slurm
def test_a_job_that_is_too_large_is_told_what_there_is(slurm_env: object, root: Path) -> None:
    with Cluster("slurm", root=root) as cluster:
        refused = ""
        try:
            job = invert.with_options(cpus_per_task=100)(1)
        except SubmissionRefused as error:  # at once, by Slurm 24.11
            refused = str(error)
        if refused:
            assert "The option cpus_per_task='100' caused this." in refused
            assert "up to 4 CPUs" in refused
            return
        until(lambda: "no node" in (job.status().explanation or ""))
        _, reason, sizes = lines(cluster, job.key)
        job.cancel()
    assert "change the options or partition=" in reason or "change constraint=" in reason
    assert sizes.startswith("    it asks for cpus_per_task=100, mem=100M, time=5. Partitions: debug (default): ")
    assert "up to 4 CPUs" in sizes


@task(time="5")
def end_process(status: int) -> None:
    if status > 128:
        os.kill(os.getpid(), status - 128)
    os._exit(status)


@pytest.mark.parametrize(
    ("status", "words"), [(128 + signal.SIGSEGV, "was killed by SIGSEGV"), (3, "ended with status 3")]
)
def test_a_process_that_died_is_explained_by_how_it_ended(status: int, words: str, local: Cluster) -> None:
    job = end_process(status)
    job.exception(60)
    explanation = explained(overviews([job.part])[0])
    assert explanation[1] == f"FAILED: its process {words}"
    assert "`slurm replay" in explanation[2]


def test_a_job_that_its_program_has_not_queued_says_so(inline: InlineCluster) -> None:
    """Its program was killed after it had written the record."""
    job = invert(1)
    job.result(30)
    for name in ("submitted.json", "outcomes/0.json"):
        Path(job.directory, name).unlink()
    inline.queue.reset()
    found = Cluster("inline", root=inline.place.store.root, python=sys.executable).job(job.key)
    assert explained(overviews([found.part])[0])[1:] == [
        "UNKNOWN, it has not been queued yet, as far as is known",
        f"    if the program that submitted it has ended: `slurm retry {job.key}`",
    ]
