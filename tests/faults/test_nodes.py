"""What goes wrong on nodes: wrong clocks, full disks, processes that stay behind, prologs that fail."""

from __future__ import annotations

import datetime as dt
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.conftest import Start
from projects import project
from slurm import Cluster, Job, JobState, Wheel, task, wait
from slurm.environments.base import BuildTarget
from slurm.environments.current import Current
from slurm.errors import (
    BuildFailed,
    JobCancelled,
    JobError,
    JobNotStarted,
    NodeFailed,
    ResultNotSaved,
    TaskExited,
)
from slurm.protocol import ResolvedEnvironment
from testbed import SlurmTestbed
from waiting import until

pytestmark = pytest.mark.slurm


@pytest.fixture(autouse=True)
def slurm(root: Path) -> Iterator[Cluster]:
    """The active cluster."""
    with Cluster("slurm", root=root) as cluster:
        yield cluster


@task
def call(function: Callable[..., object], *args: object) -> object:
    return function(*args)


# Clocks.


class Skewed(Current):
    """The Python that is there, with the clock of its node."""

    def __init__(self, testbed: SlurmTestbed) -> None:
        self._testbed = testbed

    def prepare(self, place: BuildTarget) -> ResolvedEnvironment:
        lines = [
            f'[ "$SLURMD_NODENAME" != {node} ] || export '
            + " ".join(f"{name}='{value}'" for name, value in self._testbed.skewed(node).items())
            for node in self._testbed.slurmd
        ]
        return super().prepare(place).replace(setup=tuple(lines))


def test_wrong_clocks_of_nodes_have_no_effect(start: Start, root: Path) -> None:
    skew = {"n1": -240, "n2": 240}
    testbed = start(skew=skew)
    with Cluster("slurm", root=root, environment=Skewed(testbed)):
        early, late = (call.with_options(sbatch={"--nodelist": node}) for node in skew)
        clocks = [early(time.time), late(time.time)]
        for job, wrong in zip(clocks, skew.values(), strict=True):
            assert abs(float(str(job.result(60))) - time.time() - wrong) < 60
        # From one node to the other, both ways: what the later reads lies in its future, or long ago.
        assert early(str, late(abs, -1)).result(60) == "1"
        assert late(str, early(abs, -1)).result(60) == "1"
        for node in (early, late):
            with pytest.raises(ValueError, match="invalid literal"):
                node(int, "x").result(60)
            with pytest.raises(TaskExited, match="status 3"):
                node(os._exit, 3).result(60)
            job = node(signal.pause)
            until(job.running)
            testbed.run("scancel", str(job.job_id))
            with pytest.raises(JobCancelled):
                job.result(60)


# Disks.


def test_result_larger_than_the_disk_is_an_error_and_earlier_ones_stay(start: Start, disk: Path) -> None:
    @task
    def make(size: int) -> bytes:
        return b"x" * size

    start()
    with Cluster("slurm", root=disk):
        first = make(10)
        until(first.done)
        second = make(4_000_000)
    with pytest.raises(ResultNotSaved, match="No space left on device"):
        second.result(60)
    assert first.result(60) == b"x" * 10


def test_full_disk_during_a_build_leaves_no_partial_environment(disk: Path, tmp_path: Path) -> None:
    large = project(tmp_path / "large", "large", "#" * 8_000_000)
    with Cluster(root=disk):
        with pytest.raises(BuildFailed, match="the disk is full: free space"):
            call.with_options(environment=Wheel(large, wheelhouse=tmp_path))(abs, -1)
        assert [path for path in disk.glob("envs/*/*") if path.parent.suffix != ".lock"] == []
        assert call(abs, -1).result(60) == 1


@pytest.mark.usefixtures("short_grace")
def test_disk_too_full_for_an_outcome_fails_the_job(start: Start, disk: Path) -> None:
    @task
    def fill() -> int:
        print("a log that has begun has some room left in its page", flush=True)
        with open(disk / "filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return 1

    start()
    with Cluster("slurm", root=disk):
        first = call(abs, -1)
        assert first.result(60) == 1
        job = fill()
        with pytest.raises(
            TaskExited, match=r"ended without an outcome(?s:.*)which ends:(?s:.*)No space left on device"
        ):
            job.result(60)
        assert not list(Path(job.directory, "outcomes").iterdir())
        assert Cluster("slurm", root=disk).job(first.key).result(60) == 1  # type: ignore[union-attr]
        (disk / "filler").unlink()
        assert call(abs, -2).result(60) == 2


# Processes.


@task
def leave_children(pids: Path, seconds: float, orphans: list[bool]) -> str:
    """Children, of which some have lost their parent, that ignore SIGTERM, as does the task itself."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for orphan in orphans:
        middle = os.fork() if orphan else 0
        if middle:
            os.waitpid(middle, 0)
        elif (child := os.fork()) == 0:
            time.sleep(600)
            os._exit(0)
        else:
            (pids / str(child)).touch()
            if orphan:
                os._exit(0)
    (pids / str(os.getpid())).touch()
    time.sleep(seconds)
    return "done"


def _alive(pids: Path) -> list[str]:
    """Those that run still; a zombie doesn't."""
    found = []
    for path in pids.iterdir():
        stat = Path("/proc", path.name, "stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
            found.append(path.name)
    return found


@pytest.mark.parametrize("where", ["local", "linuxproc", "cgroup"])
def test_task_that_ignores_sigterm_is_killed_with_its_children(
    start: Start, root: Path, trace: Path, where: str
) -> None:
    if where != "local":
        start(memory_limits=where == "cgroup", speedup=20)
    limit = "0:05" if where == "local" else "2"  # time to begin on a busy machine
    # By parents alone Slurm loses sight of a process that has lost its own (proctrack/linuxproc; sites use cgroups).
    by_parents = where == "linuxproc"
    orphans = [False] if by_parents else [False, True]
    ends: list[tuple[str, Callable[[Job[str]], object], float]] = [
        ("cancel", lambda job: job.cancel() and job.exception(60), 300),
        ("limit", lambda job: job.exception(60), 300),
        ("return", lambda job: job.result(60), 0),
    ]
    with Cluster("local" if where == "local" else "slurm", root=root):
        for name, end, seconds in ends[:2] if by_parents else ends:
            pids = trace / name
            pids.mkdir()
            time_limit = limit if name == "limit" else None
            job = leave_children.with_options(time=time_limit)(pids, seconds, orphans)
            until(lambda pids=pids: len(list(pids.iterdir())) == 1 + len(orphans))  # type: ignore[misc]
            end(job)
            until(lambda pids=pids: not _alive(pids), 40)  # type: ignore[misc]


# What keeps a job from starting.


def _status(job: Job[object], reason: str) -> None:
    until(lambda: job.status().reason == reason)
    assert job.status().state is JobState.PENDING


def test_job_held_by_an_administrator_continues_when_released(start: Start) -> None:
    testbed = start()
    job = call.with_options(sbatch={"--begin": "now+300"})(abs, -1)
    testbed.run("scontrol", "hold", str(job.job_id))  # by SlurmUser, who runs all here
    _status(job, "JobHeldAdmin")
    testbed.run("scontrol", "release", str(job.job_id))
    testbed.run("scontrol", "update", f"jobid={job.job_id}", "StartTime=now")
    assert job.result(60) == 1


def test_a_job_that_cannot_start_is_warned_about_once_and_errors_say_why_it_waits(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    testbed = start(nodes=1)
    testbed.run("scontrol", "update", "partitionname=debug", "MaxTime=10")
    jobs = [call.with_options(time="1:00:00")(abs, -1), call.with_options(begin="now+300")(abs, -2)]
    _status(jobs[0], "PartitionTimeLimit")
    _status(jobs[1], "BeginTime")
    jobs[0].status()
    # The first reason is sometimes PartitionConfig.
    warned = [record.message for record in caplog.records if "as it was submitted" in record.message]
    assert [text.startswith(f"{jobs[0].key} cannot start as it was submitted: PENDING (Part") for text in warned] == [
        True
    ]
    assert "it waits for its earliest start" in (jobs[1].status().explanation or "")
    with pytest.raises(TimeoutError, match=r"has not ended after 0\.1 s, PENDING \(BeginTime: it waits for its"):
        jobs[1].result(0.1)
    testbed.run("scontrol", "update", f"jobid={jobs[0].job_id}", "TimeLimit=5")
    testbed.run("scontrol", "update", f"jobid={jobs[1].job_id}", "StartTime=now")
    assert [job.result(60) for job in jobs] == [1, 2]


def test_failed_prolog_holds_the_job_with_the_reason(start: Start, tmp_path: Path) -> None:
    prolog = tmp_path / "prolog"
    prolog.write_text("#!/bin/sh\nexit 1\n")
    prolog.chmod(0o755)
    testbed = start(nodes=1, settings={"Prolog": str(prolog)})
    job = call(abs, -1)
    _status(job, "launch failed requeued held")
    # Slurm drains the node by a message of its own, and ends the first start by another: neither may come after these.
    until(lambda: testbed.run("sinfo", "-h", "-N", "-n", "n1", "-o", "%T").stdout == "drained\n")
    time.sleep(1.1)  # slurmd refuses a job that starts again in the very second in which it took back the last start
    prolog.write_text("#!/bin/sh\n")
    testbed.run("scontrol", "update", "nodename=n1", "state=resume")
    testbed.run("scontrol", "release", str(job.job_id))
    testbed.run("scontrol", "update", f"jobid={job.job_id}", "StartTime=now")
    wait([job], 60)
    for log in ("slurmctld", "slurmd-n1"):  # pytest shows them if this fails, which it once did on 20.11
        print((testbed.directory / f"log/{log}.log").read_text())
    assert job.result(60) == 1


def test_job_past_its_deadline_is_not_started(start: Start) -> None:
    testbed = start(nodes=1, cpus=1, speedup=20)
    call(time.sleep, 300)
    # By slurmctld's clock, which is minutes ahead soon.
    told = testbed.run("scontrol", "show", "config").stdout.splitlines()[0].split()[-1]
    deadline = dt.datetime.fromisoformat(told) + dt.timedelta(minutes=5)
    job = call.with_options(time="1", sbatch={"--deadline": deadline.isoformat()})(abs, -1)
    with pytest.raises(JobNotStarted, match="could not end before its deadline") as caught:
        job.result(60)
    assert isinstance(caught.value, JobError)
    assert caught.value.state == "DEADLINE"


def test_node_that_does_not_power_up_fails_its_job(start: Start) -> None:
    """After ResumeTimeout Slurm (22.05) ends it as NODE_FAIL, as it does after --reboot; nothing makes it BOOT_FAIL."""
    programs = {"ResumeProgram": "/bin/true", "SuspendProgram": "/bin/true", "SuspendTime": "3600"}
    cloud = {"NodeName": "c1 NodeHostname=nowhere NodeAddr=127.0.0.1 Port=1 CPUs=1 State=CLOUD"}
    testbed = start(
        nodes=1, speedup=20, settings={**programs, "ResumeTimeout": "40", **cloud}, partitions={"cloud": "Nodes=c1"}
    )
    job = call.with_options(partition="cloud", no_requeue=True)(abs, -1)
    with pytest.raises(NodeFailed, match="lost its node"):
        job.result(60)
    assert "not resumed by ResumeTimeout" in (testbed.directory / "log/slurmctld.log").read_text()
