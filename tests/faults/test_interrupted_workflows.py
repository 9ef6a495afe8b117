"""Workflows that are interrupted: what they have submitted is found again, and nothing runs twice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm import Cluster, WorkflowContext, task, workflow
from testbed import SlurmTestbed
from waiting import until

pytestmark = pytest.mark.slurm

Start = Callable[..., SlurmTestbed]


@pytest.fixture(autouse=True)
def slurm(root: Path) -> Iterator[Cluster]:
    """The active cluster."""
    with Cluster("slurm", root=root) as cluster:
        yield cluster


@task
def leave(trace: Path, name: str, gate: str | None = None) -> str:
    """Leaves a file for this run, then waits for a gate, if there is one."""
    (trace / f"{name}.{os.getpid()}").touch()
    while gate and not (trace / gate).exists():
        time.sleep(0.05)
    return name


@workflow
def half_way(trace: Path, ctx: WorkflowContext | None = None) -> tuple[int, str, list[str]]:
    """Submits, waits, is interrupted there, and would submit all of it again."""
    assert ctx is not None
    several = leave.map([trace] * 3, ["a0", "a1", "a2"])
    done, held = leave(trace, "done"), leave(trace, "held", "gate")
    after = leave.after(held)(trace, "after")
    done.result()
    (trace / f"waits.{ctx.attempt}").touch()
    held.result()
    return ctx.attempt, leave(trace, "last").result(), [*several.results(), after.result()]


def ran(trace: Path) -> list[str]:
    """The names of what has run, once for each time that it has."""
    return sorted(path.name.partition(".")[0] for path in trace.iterdir() if not path.match("waits.*") and path.suffix)


EVERYTHING = ["a0", "a1", "a2", "after", "done", "held", "last"]


@pytest.mark.parametrize("how", ["requeue", "node"])
def test_restarted_workflow_finds_its_submissions(start: Start, root: Path, trace: Path, how: str) -> None:
    testbed = start()
    with Cluster("slurm", root=root, options={"sbatch": {"--nodelist": "n2"}}):
        job = half_way.with_options(requeue=True, sbatch={"--nodelist": None, "--exclude": "n2"})(trace)
    until((trace / "waits.1").exists)
    until(lambda: "held" in ran(trace))
    if how == "requeue":
        testbed.run("scontrol", "requeue", str(job.job_id))
    else:
        # The first attempt's processes live on here, beside the second's. Slurm is told at once: by a faster clock it
        # may take a busy n2 for dead as well, and run again what is there.
        testbed.slurmd["n1"].kill()
        testbed.run("scontrol", "update", "nodename=n1", "state=down", "reason=test")
    anywhere = ("scontrol", "update", f"jobid={job.job_id}", "ExcNodeList=", "StartTime=now")
    state = ("squeue", "--noheader", f"--jobs={job.job_id}", "--format=%T")
    until(lambda: testbed.run(*state, check=False).stdout == "PENDING\n")  # before that, StartTime has no effect
    testbed.run(*anywhere)
    until((trace / "waits.2").exists)
    (trace / "gate").touch()
    assert job.result(60)[1:] == ("last", ["a0", "a1", "a2", "after"])
    assert ran(trace) == sorted(EVERYTHING)


def test_workflow_stops_where_it_waits_and_continues(start: Start, trace: Path) -> None:
    testbed = start()
    job = half_way.with_options(time="60", signal_lead=60, no_requeue=True)(trace)
    until((trace / "waits.1").exists)
    testbed.run("scancel", "--batch", "--signal=USR1", str(job.job_id))  # as Slurm does ahead of the limit
    until((trace / "waits.2").exists)
    (trace / "gate").touch()
    assert job.result(60) == (2, "last", ["a0", "a1", "a2", "after"])
    assert ran(trace) == sorted(EVERYTHING)
