"""What goes wrong on clusters, provoked on real ones: each future resolves, with the truth, and nothing runs twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm import Cluster, Job, JobContext, JobState, task
from slurm.errors import DependencyFailed, JobCancelled, JobLost, JobPreempted, NodeFailed, TaskExited
from testbed import SlurmTestbed
from waiting import until

pytestmark = pytest.mark.slurm

Start = Callable[..., SlurmTestbed]
FORGETFUL = {"MinJobAge": "40"}
"""Of a controller whose clock runs twenty times as fast."""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that isn't there yet, for which calls wait."""
    return tmp_path / "gate"


@pytest.fixture(autouse=True)
def slurm(root: Path) -> Iterator[Cluster]:
    """The active cluster."""
    with Cluster("slurm", root=root) as cluster:
        yield cluster


@task
def leave_trace(
    trace: Path, seconds: float, gate: Path | None = None, ctx: JobContext | None = None
) -> tuple[int, int]:
    """Take some seconds, or as long as there is no gate."""
    assert ctx is not None
    (trace / f"{ctx.index}.{ctx.attempt}.{os.getpid()}").touch()
    time.sleep(seconds)
    while gate is not None and not gate.exists():
        time.sleep(0.05)
    return ctx.index, ctx.attempt


@task
def call(function: Callable[..., object], *args: object) -> object:
    return function(*args)


def _state(testbed: SlurmTestbed, job: Job[object]) -> str:
    return testbed.run("squeue", "-h", "-t", "all", "-o", "%T", "-j", str(job.job_id)).stdout.strip()


def _start_again(testbed: SlurmTestbed, job: Job[object]) -> None:
    """Have a job that was sent back to the queue start without the two minutes' wait."""
    until(lambda: _state(testbed, job) == "PENDING")
    time.sleep(1)  # Slurm may start it under the feet of its own cleaning up
    testbed.run("scontrol", "update", f"jobid={job.job_id}", "StartTime=now")


def _requeue(testbed: SlurmTestbed, job: Job[object], gate: Path) -> None:
    """Send a job back to the queue, and open the gate for the attempt after it."""
    testbed.run("scontrol", "requeue", str(job.job_id))
    until(lambda: _state(testbed, job) == "PENDING")
    gate.touch()
    _start_again(testbed, job)


# Submitting.


def test_job_runs_once_when_slurmctld_freezes_during_submission(start: Start, slurm: Cluster, trace: Path) -> None:
    testbed = start(settings={"MessageTimeout": "2"})
    leave_trace(trace, 0).result(30)
    testbed.slurmctld.pause()
    thaw = threading.Timer(5, testbed.slurmctld.resume)
    thaw.start()
    job = leave_trace(trace, 0.2)
    thaw.join()
    assert job.result(60) == (0, 1)
    time.sleep(1.5)  # a second one would have run by now
    assert len(list(trace.iterdir())) == 2
    assert testbed.run("squeue", "-h", "-t", "all", "-o", "%k").stdout.split().count(job.key) == 1


def test_submission_waits_for_a_slurmctld_that_is_down(start: Start, slurm: Cluster, trace: Path) -> None:
    testbed = start(settings={"MessageTimeout": "2"})
    leave_trace(trace, 0).result(30)
    testbed.slurmctld.terminate()
    back = threading.Timer(4, testbed.slurmctld.start)
    back.start()
    job = leave_trace(trace, 0)
    back.join()
    assert job.result(60) == (0, 1)
    assert len(list(trace.iterdir())) == 2


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("queued", [True, False])
def test_job_of_a_client_killed_before_it_knew_the_id_is_found_or_lost(
    start: Start, slurm: Cluster, trace: Path, tmp_path: Path, queued: bool
) -> None:
    start()
    commands = tmp_path / "bin"
    commands.mkdir()
    # A command of the submission takes its shell and the client with it, after the job is queued or before.
    after = "mv" if queued else "sbatch"
    (commands / after).write_text("#!/bin/sh\nread -r _ _ _ client _ < /proc/$PPID/stat; kill -9 $PPID $client\n")
    (commands / after).chmod(0o755)
    program = (
        "import sys, time; from slurm import Cluster, task\n"
        "with Cluster('slurm', root=sys.argv[1]): task(time.sleep)(0.5)"
    )
    env = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"}
    root = slurm.url.removeprefix("slurm://")
    subprocess.run([sys.executable, "-c", program, root], env=env, capture_output=True, check=False)
    (directory,) = Path(root, "jobs", "sleep").iterdir()
    assert not (directory / "submitted.json").exists()
    job = slurm.job(f"sleep/{directory.name}")
    if queued:
        assert job.result(60) is None  # type: ignore[union-attr]
        assert (directory / "submitted.json").exists()
    else:
        with pytest.raises(JobLost, match="was never queued"):
            job.result(60)  # type: ignore[union-attr]


def test_map_larger_than_max_array_size_is_queued_in_blocks(start: Start, slurm: Cluster, trace: Path) -> None:
    start(settings={"MaxArraySize": "11"})
    array = leave_trace.starmap([(trace, 0)] * 24)
    assert array.results(120) == [(index, 1) for index in range(24)]
    assert slurm.command_counts()["submit"] == 1
    assert len({job.job_id.partition("_")[0] for job in array if job.job_id}) == 3
    assert array[23].logs() == ""
    assert len(list(trace.iterdir())) == 24


# Waiting.


def test_results_arrive_while_slurmctld_is_down(start: Start, slurm: Cluster, trace: Path, gate: Path) -> None:
    testbed = start(settings={"MessageTimeout": "2"})
    job = leave_trace(trace, 0, gate)
    until(lambda: list(trace.iterdir()))
    testbed.slurmctld.terminate()
    gate.touch()
    assert job.result(30) == (0, 1)


def test_results_arrive_while_slurmctld_is_slow(
    start: Start, slurm: Cluster, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    commands, asked, answers = tmp_path / "bin", tmp_path / "asked", tmp_path / "answers"
    commands.mkdir()
    # The real one, behind a wait: as a busy controller is, which a small test cluster can't be made to be for long.
    wait = f"touch '{asked}'; while [ ! -e '{answers}' ]; do sleep 0.1; done"
    (commands / "squeue").write_text(f'#!/bin/sh\n{wait}; exec {shutil.which("squeue")} "$@"\n')
    (commands / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    job = leave_trace(trace, 0, asked)
    try:
        assert job.result(60) == (0, 1)
    finally:
        answers.touch()


# Ends without Python.


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("victim", ["python", "batch shell", "slurmstepd"])
def test_future_resolves_when_any_process_of_a_job_is_killed(
    start: Start, slurm: Cluster, trace: Path, victim: str
) -> None:
    testbed = start()
    job = leave_trace(trace, 300)
    until(lambda: list(trace.iterdir()))
    python = int(next(trace.iterdir()).name.rpartition(".")[2])
    chain = [python]
    while len(chain) < 3:
        chain.append(int(Path(f"/proc/{chain[-1]}/stat").read_text().rpartition(")")[2].split()[1]))
    os.kill(chain[["python", "batch shell", "slurmstepd"].index(victim)], signal.SIGKILL)
    if victim == "slurmstepd":  # Slurm itself believes for long that it runs; somebody has to end it
        job.cancel()
    with pytest.raises((TaskExited, JobCancelled)) as caught:
        job.result(60)
    assert isinstance(caught.value, JobCancelled if victim == "slurmstepd" else TaskExited)
    if victim == "python":
        assert caught.value.signal == signal.SIGKILL
    assert _state(testbed, job) in ("FAILED", "CANCELLED")


def test_failed_node_fails_its_job(start: Start, slurm: Cluster, trace: Path) -> None:
    testbed = start()
    job = leave_trace.with_options(no_requeue=True)(trace, 300)
    until(lambda: _state(testbed, job) == "RUNNING" and list(trace.iterdir()))
    testbed.run("scontrol", "update", "nodename=n1", "state=down", "reason=test")
    with pytest.raises(NodeFailed, match="lost its node"):
        job.result(60)


def test_job_of_a_dead_node_is_requeued_and_runs_again(start: Start, slurm: Cluster, trace: Path, gate: Path) -> None:
    testbed = start(speedup=20, settings={"SlurmdTimeout": "100"})
    job = leave_trace.with_options(requeue=True)(trace, 0, gate)
    until(lambda: list(trace.iterdir()))
    testbed.slurmd["n1"].kill()
    until(lambda: _state(testbed, job) == "PENDING", 60)
    assert job.status().state is JobState.PENDING
    gate.touch()
    testbed.run("scontrol", "update", f"jobid={job.job_id}", "StartTime=now")
    assert job.result(60) in ((0, 1), (0, 2))  # the first attempt's processes live on here, and may end first
    results = list(Path(job.directory, "outcomes").iterdir())
    assert [path.name for path in results] == ["0.json"]


def test_requeued_job_is_the_second_attempt(start: Start, slurm: Cluster, trace: Path, gate: Path) -> None:
    testbed = start()
    job = leave_trace(trace, 0, gate)
    until(lambda: list(trace.iterdir()))
    testbed.run("scontrol", "requeue", str(job.job_id))
    until(lambda: _state(testbed, job) == "PENDING")
    assert not job.done()
    gate.touch()
    _start_again(testbed, job)
    assert job.result(60) == (0, 2)
    assert job.status().outcome.attempt == 2  # type: ignore[union-attr]


def test_requeued_chunk_continues_at_its_first_unfinished_call(
    start: Start, slurm: Cluster, trace: Path, gate: Path
) -> None:
    testbed = start()
    array = leave_trace.starmap([*[(trace, 0.6)] * 7, (trace, 0, gate)], chunk_size=8)
    until(lambda: len(list(trace.iterdir())) == 8)
    _requeue(testbed, array[0], gate)
    results = array.results(60)
    assert [index for index, _ in results] == list(range(8))
    attempts = [attempt for _, attempt in results]
    assert attempts == sorted(attempts)
    assert attempts[0] == 1
    assert attempts[-1] == 2
    # What the first attempt had put down didn't run again; what it did within its last second may have.
    assert len(list(trace.iterdir())) <= 8 + 3
    assert not list(Path(array.directory, "results").glob(".*"))


def test_requeued_element_with_workers_makes_only_unfinished_calls(
    start: Start, slurm: Cluster, trace: Path, gate: Path
) -> None:
    testbed = start()
    unfinished = (trace, 0, gate)
    array = leave_trace.starmap([unfinished, *[(trace, 0.5)] * 10, unfinished], chunk_size=12, workers=2)
    until(lambda: len(list(trace.iterdir())) == 12)
    _requeue(testbed, array[0], gate)
    results = array.results(60)
    assert [index for index, _ in results] == list(range(12))
    attempts = [attempt for _, attempt in results]
    assert (attempts[0], attempts[1], attempts[-1]) == (2, 1, 2)
    # Of the first attempt's calls those run again that it was making, and perhaps those of its last second.
    assert len(list(trace.iterdir())) <= 12 + 2 + 3
    assert not list(Path(array.directory, "results").glob(".*"))


def test_preempted_job_runs_again_or_raises(start: Start, slurm: Cluster, trace: Path, gate: Path) -> None:
    testbed = start(
        nodes=1,
        cpus=1,
        settings={"PreemptType": "preempt/partition_prio", "PreemptMode": "REQUEUE"},
        partitions={
            "low": "Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE",
            "high": "Nodes=ALL PriorityTier=100 PreemptMode=OFF",
        },
    )
    again = leave_trace.with_options(partition="low")(trace, 0, gate)
    until(lambda: list(trace.iterdir()))
    urgent = leave_trace.with_options(partition="high")(trace, 0)
    assert urgent.result(60) == (0, 1)
    gate.touch()
    _start_again(testbed, again)
    assert again.result(60) == (0, 2)

    for path in trace.iterdir():
        path.unlink()
    never = leave_trace.with_options(partition="low", no_requeue=True)(trace, 60)
    until(lambda: list(trace.iterdir()))
    leave_trace.with_options(partition="high")(trace, 0)
    with pytest.raises(JobPreempted):
        never.result(60)


def test_held_job_is_pending_and_continues_when_released(start: Start, slurm: Cluster, trace: Path) -> None:
    testbed = start()
    job = leave_trace.with_options(hold=True)(trace, 0)
    until(lambda: job.status().reason == "JobHeldUser")
    assert job.status().state is JobState.PENDING
    testbed.run("scontrol", "release", str(job.job_id))
    assert job.result(60) == (0, 1)


def test_job_cancelled_with_scancel_is_cancelled(start: Start, slurm: Cluster, trace: Path) -> None:
    testbed = start()
    job = leave_trace(trace, 300)
    until(lambda: list(trace.iterdir()))
    testbed.run("scancel", str(job.job_id))
    with pytest.raises(JobCancelled):
        job.result(60)


@pytest.mark.usefixtures("short_grace")
def test_job_forgotten_by_slurm_is_lost(start: Start, slurm: Cluster, trace: Path) -> None:
    testbed = start(speedup=20, settings=FORGETFUL)
    job = leave_trace.with_options(hold=True)(trace, 0)
    testbed.run("scancel", str(job.job_id))
    until(lambda: not testbed.run("squeue", "-h", "-t", "all").stdout.strip(), 60)
    with pytest.raises(JobLost, match="left no outcome, and the scheduler doesn't know it"):
        slurm.job(job.key).result(60)  # type: ignore[union-attr]


# Upstreams.


def test_forgotten_upstream_is_not_passed_to_sbatch(start: Start, slurm: Cluster, trace: Path) -> None:
    testbed = start(speedup=20, settings=FORGETFUL)
    good, bad = leave_trace(trace, 0), call(int, "x")
    good.exception(60)
    bad.exception(60)
    until(lambda: not testbed.run("squeue", "-h", "-t", "all").stdout.strip(), 60)
    show = task(repr)
    assert show(good).result(60) == "(0, 1)"
    with pytest.raises(DependencyFailed, match="ValueError: invalid literal"):
        show(bad).result(60)


def test_cancelled_upstream_is_named_by_its_dependent(start: Start, slurm: Cluster, trace: Path) -> None:
    start()
    upstream = leave_trace(trace, 300)
    downstream = task(repr)(upstream)
    until(lambda: list(trace.iterdir()))
    upstream.cancel()
    with pytest.raises(DependencyFailed, match=f"{upstream.key}.* ended without an outcome"):
        downstream.result(60)
