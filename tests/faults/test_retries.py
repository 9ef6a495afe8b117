"""Elements that Slurm ends, by their time, their memory, their node, and that go on: with more of it, or elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm import Cluster, JobOutOfMemory, JobTimedOut, NodeFailed, Retry, current_job, task
from testbed import SlurmTestbed
from waiting import until

pytestmark = pytest.mark.slurm

Start = Callable[..., SlurmTestbed]


@pytest.fixture(autouse=True)
def slurm(root: Path) -> Iterator[Cluster]:
    """The active cluster."""
    with Cluster("slurm", root=root) as cluster:
        yield cluster


@task(time="2", signal_lead=60)
def count_to(top: int, marks: Path) -> tuple[list[int], int]:
    """Counts half-way, waits there until it is told to stop, saves, and goes on in the next attempt."""
    ctx = current_job()
    (marks / f"{ctx.attempt}.{os.getpid()}").touch()
    seen: list[int] = ctx.restored or []
    while len(seen) < top:
        seen.append(len(seen))
        while len(seen) == top // 2 and not ctx.should_stop:
            time.sleep(0.05)
        if ctx.should_stop:
            ctx.checkpoint(seen)
    return seen, ctx.attempt


@task
def total(counted: tuple[list[int], int]) -> int:
    return sum(counted[0])


@pytest.mark.parametrize("requeues", [True, False])
def test_task_saves_before_its_time_limit_and_continues(start: Start, tmp_path: Path, requeues: bool) -> None:
    testbed = start(speedup=20)
    job = count_to.with_options(requeue=True if requeues else None, no_requeue=None if requeues else True)(10, tmp_path)
    after = total(job)
    assert job.result(100) == (list(range(10)), 2)
    assert after.result(60) == 45
    assert len(list(tmp_path.glob("[12].*"))) == 2
    names = testbed.run("squeue", "-h", "-t", "all", "-o", "%F %j").stdout.split("\n")
    in_one_job = len({line for line in names if line.endswith(" count_to")}) == 1
    assert in_one_job == requeues


@task(time="1", retry=Retry(times=2, time="x3", max_time="3"))
def outlast(last: int) -> int:
    """Run out of time in all attempts before the last."""
    ctx = current_job()
    while ctx.attempt < last:
        time.sleep(1)
    return ctx.attempt


def test_job_out_of_time_gets_more_up_to_max_time(start: Start) -> None:
    testbed = start(speedup=20)
    slow, endless = outlast(2), outlast(99)  # a minute of this cluster's clock passes in three seconds
    assert slow.result(100) == 2
    with pytest.raises(JobTimedOut):
        endless.result(100)
    limits = testbed.run("squeue", "-h", "-t", "all", "-o", "%j %l").stdout.splitlines()
    assert sorted(line for line in limits if line.startswith("outlast ")) == [
        "outlast 1:00", "outlast 1:00", "outlast 3:00", "outlast 3:00",
    ]  # fmt: skip


@task(mem="60M", retry=Retry(times=3, mem="x4", max_mem="300M"))
def fill(mebibytes: int) -> tuple[int, int]:
    ctx = current_job()
    return len(b"\1" * (mebibytes << 20)) >> 20, ctx.attempt


def test_only_elements_out_of_memory_get_more(start: Start) -> None:
    testbed = start(memory_limits=True)
    array = fill.map([1, 150, 2, 2000])
    assert [array[index].result(100) for index in range(3)] == [(1, 1), (150, 2), (2, 1)]
    with pytest.raises(JobOutOfMemory):
        array[3].result(100)
    asked = testbed.run("squeue", "-h", "-t", "all", "-r", "-o", "%j %K %m").stdout.splitlines()
    assert sorted(line for line in asked if line.startswith("fill ")) == [
        "fill 0 60M", "fill 1 240M", "fill 1 60M", "fill 2 60M", "fill 3 240M", "fill 3 300M", "fill 3 60M",
    ]  # fmt: skip


@task(no_requeue=True, retry=Retry(times=1, exclude_failed_node=True))
def stay(marks: Path) -> str:
    ctx = current_job()
    (marks / ctx.host).touch()
    if ctx.attempt == 1:
        time.sleep(300)
    return ctx.host


def test_job_of_a_failed_node_continues_on_another(start: Start, tmp_path: Path) -> None:
    testbed = start()
    job = stay(tmp_path)
    until(lambda: list(tmp_path.glob("n*")))
    (first,) = (path.name for path in tmp_path.glob("n*"))
    testbed.run("scontrol", "update", f"nodename={first}", "state=down", "reason=test")
    assert job.result(60) != first
    hopeless = stay.with_options(retry=Retry(on=JobOutOfMemory))(tmp_path)
    until(hopeless.running)
    testbed.run("scontrol", "update", f"nodename={hopeless.status().node}", "state=down", "reason=test")
    with pytest.raises(NodeFailed):
        hopeless.result(60)


def test_cancelled_job_with_retry_stays_cancelled(start: Start, tmp_path: Path) -> None:
    start()
    job = stay.with_options(retry=Retry(times=5, on=BaseException), signal_lead=60, time="5")(tmp_path)
    until(lambda: list(tmp_path.glob("n*")))
    job.cancel()
    assert job.exception(60) is not None
    assert job.cancelled()
    time.sleep(3)  # a caretaker would have seen to it by now
    assert job.cancelled()
    assert not list(Path(job.directory, "attempts").glob("*.next.json"))
