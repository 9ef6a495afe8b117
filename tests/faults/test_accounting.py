"""Jobs that Slurm's controller has forgotten: their states come from accounting, and no wait hangs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slurm import Cluster, Job, JobState, as_completed, task
from slurm.errors import JobCancelled, JobLost, JobTimedOut, SchedulerError, SubmissionError
from testbed import SlurmTestbed
from testbed.fixtures import require
from timing import set_timings
from waiting import until

pytestmark = pytest.mark.slurm

FORGETFUL = {"MinJobAge": "2"}


@task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.fixture(scope="module")
def testbed() -> Iterator[SlurmTestbed]:
    """One cluster with accounting for all tests here, whose controller soon forgets what has ended."""
    require(accounting=True)
    with SlurmTestbed(accounting=True, settings=FORGETFUL) as testbed, pytest.MonkeyPatch.context() as patch:
        for name, value in testbed.env.items():
            patch.setenv(name, value)
        yield testbed


@pytest.fixture(scope="module")
def slurm(testbed: SlurmTestbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The active cluster."""
    with Cluster("slurm", root=tmp_path_factory.mktemp("root")) as cluster:
        yield cluster


@pytest.fixture(scope="module", autouse=True)
def late(testbed: SlurmTestbed, slurm: Cluster) -> Job[float]:
    """A job that reaches its time limit some time during these tests: Slurm looks only every 30 s."""
    job = nap.with_options(time="1")(300)
    until(job.running)
    testbed.run("scontrol", "update", f"jobid={job.job_id}", "EndTime=now+1")
    return job


def _until_forgotten(testbed: SlurmTestbed, *jobs: Job[Any]) -> None:
    ids = {str(job.job_id).partition("_")[0] for job in jobs}
    until(lambda: not ids & set(testbed.run("squeue", "-h", "-t", "all", "-o", "%F").stdout.split()))


def _held_and_cancelled(testbed: SlurmTestbed) -> Job[float]:
    """A job that ends without ever having run, so without an outcome."""
    job = nap.with_options(hold=True)(0)
    testbed.run("scancel", str(job.job_id))
    return job


def test_job_that_accounting_does_not_have_yet_is_not_lost(slurm: Cluster) -> None:
    # For some seconds sacct doesn't know a job that runs, or one that has ended after a moment.
    jobs = [nap(seconds) for seconds in (0, 1, 4, 7)]
    while not all(job.done() for job in jobs):
        assert not any(job.status().state is JobState.LOST for job in jobs)
        time.sleep(0.2)
    assert [job.result(30) for job in jobs] == [0, 1, 4, 7]


def test_cancelled_and_forgotten_job_has_its_state_from_accounting(
    testbed: SlurmTestbed, slurm: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_timings(monkeypatch, unexplained_grace=300.0)  # longer than this test waits
    held = _held_and_cancelled(testbed)
    array = nap.map([0, 300])
    until(array[1].running)
    array[1].cancel()
    assert array[0].result(30) == 0
    _until_forgotten(testbed, held, array[1])
    for job in (held, array[1]):
        with pytest.raises(JobCancelled):
            job.result(30)


@pytest.mark.usefixtures("short_grace")
def test_jobs_finish_while_slurmdbd_is_down(testbed: SlurmTestbed, slurm: Cluster) -> None:
    testbed.slurmdbd.kill()
    try:
        forgotten, later = _held_and_cancelled(testbed), _held_and_cancelled(testbed)
        assert nap(0).result(30) == 0
        cancelled = nap.with_options(hold=True)(0)
        cancelled.cancel()
        with pytest.raises(JobCancelled):
            cancelled.result(30)
        _until_forgotten(testbed, forgotten, later)
        with pytest.raises(JobLost, match="left no outcome, and the scheduler doesn't know it"):
            forgotten.result(40)
    finally:
        testbed.slurmdbd.start()
    testbed.wait_ready()
    until(lambda: testbed.run("sacct", "-X", "-n", "-j", str(later.job_id).partition("_")[0]).stdout)
    with pytest.raises(JobCancelled):
        later.result(30)


def test_timed_out_and_forgotten_job_has_its_state_from_accounting(
    testbed: SlurmTestbed, slurm: Cluster, late: Job[float]
) -> None:
    _until_forgotten(testbed, late)
    with pytest.raises(JobTimedOut, match="reached its time limit"):
        late.result(30)


@pytest.mark.usefixtures("short_grace")
def test_hanging_slurmdbd_delays_nothing(testbed: SlurmTestbed, slurm: Cluster) -> None:
    forgotten = _held_and_cancelled(testbed)
    _until_forgotten(testbed, forgotten)
    testbed.slurmdbd.pause()
    try:
        ordinary = nap(0)
        with pytest.raises(JobLost):
            forgotten.result(40)
        assert ordinary.result(15) == 0
    finally:
        testbed.slurmdbd.resume()


def test_call_after_a_forgotten_job_of_another_program_needs_accounting(testbed: SlurmTestbed, root: Path) -> None:
    slurm = Cluster("slurm", root=root)  # that of the other tests does not ask for a minute after a time-out

    def submitted(*options: str) -> str:
        return testbed.run("sbatch", "--parsable", "--output=/dev/null", *options).stdout.split()[0]

    good, array = submitted("--wrap=true"), submitted("--array=0-1", "--wrap=exit $SLURM_ARRAY_TASK_ID")
    until(lambda: not {good, array} & set(testbed.run("squeue", "-h", "-t", "all", "-o", "%F").stdout.split()))
    accounted = {"COMPLETED": good, "FAILED": f"{array}_1"}
    for state, job in accounted.items():
        until(lambda: state in testbed.run("sacct", "-X", "-n", "-o", "state", "-j", job).stdout)  # noqa: B023
    assert nap.on(slurm).after(good, f"{array}_0")(0).result(30) == 0
    assert nap.on(slurm).after(array, on="failure")(0).result(30) == 0
    for wrong in (array, f"{array}_1"):
        with pytest.raises(SubmissionError, match=f"job {wrong}, which ended as FAILED"):
            nap.on(slurm).after(wrong)(0)
    testbed.slurmdbd.kill()
    try:
        before = len(slurm.jobs())
        with pytest.raises(SubmissionError, match=rf"{good}: .* its accounting does not answer.*Connection refused"):
            nap.on(slurm).after(good)(0)
        assert len(slurm.jobs()) == before
    finally:
        testbed.slurmdbd.start()
    testbed.wait_ready()
    unknown = "99999999"
    with pytest.raises(SubmissionError, match=f"cannot wait for job {unknown}: slurm does not know it"):
        nap.on(slurm).after(unknown)(0)
    testbed.slurmdbd.pause()
    try:
        for _ in ("asked", "not asked again for a minute"):
            with pytest.raises(SubmissionError, match=f"{good}: .* its accounting does not answer"):
                nap.on(slurm).after(good)(0)
    finally:
        testbed.slurmdbd.resume()
    assert len(slurm.jobs()) == before
    assert nap.on(Cluster("slurm", root=root, login_shell=True)).after(good)(0).result(60) == 0  # asks anew


def test_call_after_a_job_of_another_program_is_refused_while_slurmctld_is_frozen(
    new_testbed: Callable[..., SlurmTestbed], monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    testbed = new_testbed(settings={"MessageTimeout": "2"})
    for name, value in testbed.env.items():
        monkeypatch.setenv(name, value)
    with Cluster("slurm", root=root) as cluster:
        assert nap(0).result(60) == 0
        other = testbed.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 300").stdout.split()[0]
        before = len(cluster.jobs())
        testbed.slurmctld.pause()
        try:
            with pytest.raises(SchedulerError, match=f"cannot get the state of jobs {other} from slurm"):
                nap.after(other)(0)
            assert len(cluster.jobs()) == before
        finally:
            testbed.slurmctld.resume()
        waiting = nap.after(other, on="any")(0)
        assert f"Dependency=afterany:{other}" in testbed.run("scontrol", "show", "job", str(waiting.job_id)).stdout
        testbed.run("scancel", other)
        assert waiting.result(60) == 0
        assert len(cluster.jobs()) == before + 1


@pytest.mark.usefixtures("short_grace")
def test_missing_accounting_is_queried_once(
    new_testbed: Callable[..., SlurmTestbed], monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    testbed = new_testbed(speedup=20, settings={"MinJobAge": "40"})
    for name, value in testbed.env.items():
        monkeypatch.setenv(name, value)
    with Cluster("slurm", root=root) as cluster:
        jobs = [_held_and_cancelled(testbed), _held_and_cancelled(testbed)]
        _until_forgotten(testbed, *jobs)
        lost = list(as_completed(jobs, timeout=40))
        assert [type(job.exception()) for job in lost] == [JobLost, JobLost]
        assert cluster.command_counts()["query"] > 1
        assert cluster.command_counts()["history"] == 1
