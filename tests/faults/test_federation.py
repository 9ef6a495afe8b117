"""Two clusters in a federation, which moves jobs from the cluster that queued them to the other one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm import Cluster, Job, JobState, Retry, task, workflow
from slurm.doctor import examine
from slurm.errors import JobCancelled, SubmissionError
from testbed import SlurmTestbed
from testbed.fixtures import SAME_IDS, require
from testbed.programs import slurm_release
from waiting import until

pytestmark = pytest.mark.slurm
_FIRST_FEDERATED = 1 << 26
_RESTARTS, _STALLS = (24, 11), (26, 5)
_NAMES_RESOLVED = (24, 11)
"""srun of this release resolves the names of another cluster's nodes; 22.05 gets the addresses from slurmctld."""


@task
def leave(gate: Path) -> str:
    """Run until there is a file."""
    print("waits")
    while not gate.exists():
        time.sleep(0.1)
    return "left"


@task
def add(x: int) -> int:
    return x + 1


@task(retry=Retry(times=1, on="ValueError"))
def fail_once(mark: Path) -> str:
    if not mark.exists():
        mark.touch()
        raise ValueError("once")
    return "done"


@workflow
def flow(number: int) -> int:
    return add(add(number)).result() + sum(add.map(range(3)).results())


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[SlurmTestbed, SlurmTestbed]]:
    """The clusters `testbed`, whose nodes take no jobs, and `other`, with the node m1."""
    require(accounting=True)
    if slurm_release() >= _STALLS:
        pytest.skip("with 26.05, jobs that wait for a moved job stayed pending here, and slurmctld stopped to answer")
    settings = {**SAME_IDS, "MinJobAge": "300"}  # from 24.11 on, dependents need some seconds to learn of an end
    with SlurmTestbed(accounting=True, settings=settings) as first, first.second_cluster(settings=settings) as second:
        first.federate(second)
        first.run("scontrol", "update", "nodename=n[1-2]", "state=drain", "reason=test")
        yield first, second


@pytest.fixture
def clusters(
    pair: tuple[SlurmTestbed, SlurmTestbed], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[SlurmTestbed, SlurmTestbed]]:
    for name, value in pair[0].env.items():
        monkeypatch.setenv(name, value)
    yield pair
    for testbed in pair:
        testbed.cancel_all()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """What a `leave` waits for; there, at the latest, once the test has ended."""
    path = tmp_path / "gate"
    yield path
    path.touch()


def slurm(*argv: str) -> str:
    return subprocess.run([sys.executable, "-m", "slurm", *argv], capture_output=True, text=True, check=True).stdout


def id_of(job: Job[str]) -> str:
    assert job.job_id is not None
    assert int(job.job_id) > _FIRST_FEDERATED
    return job.job_id


def test_a_call_that_was_moved_behaves_as_any_other(
    clusters: tuple[SlurmTestbed, SlurmTestbed], root: Path, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = clusters
    with Cluster("slurm", root=root) as cluster:
        job, cancelled, array = leave(gate), leave(gate), add.map(range(2))
        id_ = id_of(job)
        until(job.running)
        until(lambda: first.run("squeue", "-h", "-t", "all", "-j", id_, "-o", "%T").stdout == "REVOKED\n")
        assert (job.status().state, job.status().node) == (JobState.RUNNING, "m1")
        if slurm_release() < _NAMES_RESOLVED:  # m1 is in no DNS
            assert slurm("connect", "--on", cluster.url, job.key, "--", "printenv", "SLURM_CLUSTER_NAME") == "other\n"
        until(lambda: job.logs() == "waits\n")
        until(cancelled.running)
        cancelled.cancel()
        assert type(cancelled.exception(60)) is JobCancelled
        assert array[0].status().state is JobState.PENDING  # Slurm moves no arrays
        assert "PENDING" in slurm("jobs", cluster.url)
        found = [finding.found for finding in examine(cluster) if finding.check == "federation"]
        assert found == ["other, testbed: single calls run on any of them, maps on the cluster that queues them"]
        for name, value in second.env.items():  # a client on the other cluster
            monkeypatch.setenv(name, value)
        there = Cluster("slurm", root=root, setup=["true"])
        states = {some.key: some.status().state for some in (there.job(job.key), there.job(array[0].key))}  # type: ignore[union-attr]
        assert states == {job.key: JobState.RUNNING, array[0].key: JobState.PENDING}
        there.job(array.key).cancel()
        gate.touch()
        assert (job.result(60), there.job(job.key).result(60)) == ("left", "left")  # type: ignore[union-attr]
        assert {type(element.exception(60)) for element in array} == {JobCancelled}
        assert job.status().state is JobState.COMPLETED


@pytest.mark.usefixtures("clusters")
def test_chains_retries_and_workflows_are_moved(root: Path, tmp_path: Path, pair: tuple[SlurmTestbed, ...]) -> None:
    with Cluster("slurm", root=root) as cluster:
        again, chain, nested = fail_once(tmp_path / "mark"), add(add(add(1))), flow(1)
        assert (again.result(120), chain.result(120), nested.result(120)) == ("done", 4, 9)
        assert slurm("jobs", cluster.url).count("COMPLETED") >= 3
        held = leave.with_options(hold=True)(tmp_path / "gate")
        assert held.status().state is JobState.PENDING
        with pytest.raises(SubmissionError, match="on cluster testbed and goes to other"):
            add.with_options(clusters="other")(held)
        pair[1].run("scancel", id_of(held))
        assert type(held.exception(60)) is JobCancelled


def test_a_cluster_that_does_not_answer_ends_no_call_that_it_has(
    clusters: tuple[SlurmTestbed, SlurmTestbed], root: Path, gate: Path
) -> None:
    if slurm_release() >= _RESTARTS:
        pytest.skip("from 24.11 on, scontrol reconfigure restarts slurmctld, which did not answer in time here")
    first, second = clusters
    with Cluster("slurm", root=root):
        job, killed = leave(gate), leave(gate)
        until(job.running)
        until(killed.running)
        for testbed in clusters:
            testbed.conf.write_text(testbed.conf.read_text().replace("MinJobAge=300", "MinJobAge=2"))
            testbed.run("scontrol", "reconfigure")
        second.run("scancel", id_of(killed))
        # Slurm forgets it; then only the accounting knows how it ended.
        until(
            lambda: (
                "Invalid" in first.run("squeue", "--federation", "-t", "all", "-j", id_of(killed), check=False).stderr
            )
        )
        assert type(killed.exception(60)) is JobCancelled
        second.slurmctld.terminate()
        until(lambda: "does not report it" in (job.status().explanation or ""))
        with pytest.raises(TimeoutError):
            job.result(14)  # longer than a job that is missing is waited for
        gate.touch()
        assert job.result(60) == "left"
        second.slurmctld.start()
        second.wait_ready()
        for testbed in clusters:
            testbed.conf.write_text(testbed.conf.read_text().replace("MinJobAge=2\n", "MinJobAge=300\n"))
            testbed.run("scontrol", "reconfigure")
