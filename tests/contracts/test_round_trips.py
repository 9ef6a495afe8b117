"""Count the commands that submitting, waiting and reading results run on the other machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from projects import project
from slurm import Cluster, JobContext, Python, Wheel, task
from slurm.environments.base import BuildListener
from slurm.storage.reuse_records import DIGEST_BYTES, ReuseRecord
from slurm.transports.paramiko_ssh import ParamikoTransport, _Command
from testbed import SlurmTestbed, SSHTestbed
from waiting import until


class Recording(ParamikoTransport):
    """Counts the commands that it starts."""

    commands = 0

    def _start(self, line: str) -> _Command:
        self.commands += 1
        return super()._start(line)

    def spent(self) -> int:
        """How many since this was last asked."""
        spent, self.commands = self.commands, 0
        return spent


@task
def square(x: int) -> int:
    return x * x


@pytest.fixture
def far(slurm_env: SlurmTestbed, ssh_env: SSHTestbed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster of a home that nobody has used before."""
    with Cluster("slurm+paramiko://box", root=f"~/slurm-test-{ssh_env.port}-{os.urandom(4).hex()}") as cluster:
        backend = cluster.place
        backend.__dict__["transport"] = Recording(backend.url)
        yield cluster
        backend.transport.run(["rm", "-r", backend.store.root])
        backend.transport.close()


def recording(cluster: Cluster) -> Recording:
    found = cluster.place.transport
    assert isinstance(found, Recording)
    return found


@pytest.mark.slurm
def test_the_other_side_is_asked_as_rarely_as_was_promised(far: Cluster) -> None:
    line = recording(far)
    array = square.map(range(20))
    assert line.spent() <= 3  # what is there, the runner and the job's files, sbatch
    single = square(7)
    assert line.spent() <= 2
    until(lambda: array.done() and single.done())
    line.spent()
    assert array.results(60) == [x * x for x in range(20)]
    assert line.spent() <= 1
    assert single.result(60) == 49
    assert line.spent() <= 1


@pytest.mark.slurm
def test_an_unchanged_project_is_one_look_and_then_none(
    far: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(BuildListener, "begin", lambda self, key: made.append(key))
    environment = Wheel(project(tmp_path / "own", "own", ""), wheelhouse=tmp_path)
    here = square.with_options(environment=environment)
    line = recording(far)
    assert here(3).result(60) == 9
    assert len(made) == 1
    line.spent()
    here(4)
    assert line.spent() <= 2  # the job's files, sbatch
    other = Cluster(far.url, login_shell=True)  # knows as little as another process
    other.place.__dict__["transport"] = line
    job = here.on(other)(5)
    assert line.spent() <= 3  # what is there, and whether the environment is; the job's files; sbatch
    assert job.result(60) == 25
    assert len(made) == 1
    named = Cluster(far.url, setup=["true"])
    named.place.__dict__["transport"] = line
    line.spent()
    square.with_options(environment=Python(sys.executable)).on(named)(6)
    assert line.spent() <= 3  # an interpreter is looked for along with the rest, too


@pytest.mark.slurm
def test_a_plan_is_one_look_and_then_none(far: Cluster, tmp_path: Path) -> None:
    environment = Wheel(project(tmp_path / "own", "own", ""), wheelhouse=tmp_path)
    line = recording(far)
    missing = square.with_options(environment=environment).plan(3)
    assert (line.spent(), missing.environment.python) == (1, "<python>")  # what is there, and the environment is not
    plan = far.plan(square, [(2,), (3,)])
    assert (line.spent(), plan.notes) == (0, ())
    jobs = plan.submit()
    assert line.spent() <= 2  # the runner and the job's files, sbatch
    assert jobs.results(60) == [4, 9]


@pytest.mark.slurm
def test_known_calls_take_as_many_commands_however_many_submissions_computed_them(far: Cluster) -> None:
    known = square.with_options(reuse=True, chunk_size=10).on(far)
    for count in (20, 40, 60):
        assert known.map(range(count)).results(60) == [x * x for x in range(count)]
    line = recording(far)
    other = Cluster(far.url, login_shell=True)  # knows as little as another process
    other.place.__dict__["transport"] = line
    line.spent()
    again = known.on(other).map(range(60))
    assert line.spent() <= 3  # what is there; records of reuse; submissions and outcomes
    assert len(again.keys) == 3
    assert again.results(60) == [x * x for x in range(60)]
    line.spent()
    known.on(other).map(range(60))
    assert line.spent() <= 2  # no record of reuse is read twice


@pytest.mark.slurm
def test_many_records_of_reuse_take_two_more_commands(far: Cluster) -> None:
    known = square.with_options(reuse=True).on(far)
    first = known(0)
    line = recording(far)
    record = ReuseRecord(key=first.key, elements=1, parts={}).dumps()
    files = {str(number): record + number.to_bytes(DIGEST_BYTES, "big") for number in range(2, 100)}
    line.put(far.place.store.task_directory(first.key), files)
    other = Cluster(far.url, login_shell=True)
    other.place.__dict__["transport"] = line
    assert other.place.store
    line.spent()
    assert other.place.reuse_records.refresh(first.key) == 100
    assert line.spent() <= 3
    assert other.place.reuse_records.refresh(first.key) == 100
    assert line.spent() <= 1


@task
def write(x: int, ctx: JobContext | None = None) -> None:
    assert ctx is not None
    (ctx.output_directory() / "data").write_text(str(x))


@pytest.mark.slurm
def test_files_and_labels_of_many_calls_are_three_commands(far: Cluster, tmp_path: Path) -> None:
    array = write.with_options(labels={"sweep": "files"}).map(range(12))
    until(array.done)
    line = recording(far)
    line.spent()
    paths = array.fetch(to=tmp_path / "here", wait=False)
    assert line.spent() <= 3  # the list of the files; their digests; one part
    assert [path.read_text() for (path,) in paths] == [str(x) for x in range(12)]
    array.fetch(to=tmp_path / "here", wait=False)
    assert line.spent() <= 2  # nothing is sent twice
    other = [write.with_options(labels={"sweep": "other"})(x) for x in range(3)]
    line.spent()
    assert [found.key for found in far.jobs(labels={"sweep": "files"})] == [array.key]
    assert line.spent() <= 3  # tasks; submissions; their records
    assert len(far.jobs(labels={"sweep": "other"})) == len(other)


@task
def leave(x: int) -> None:
    print("the last word of", x, flush=True)
    os._exit(3)


@pytest.mark.slurm
def test_how_all_have_failed_is_two_commands(far: Cluster) -> None:
    array = leave.map(range(20))
    until(array.done)
    line = recording(far)
    line.spent()
    errors = array.exceptions(60)
    assert line.spent() <= 2  # outcomes, and the ends of the logs
    assert [str(error).rpartition("\n")[2] for error in errors] == [f"the last word of {x}" for x in range(20)]


@pytest.mark.slurm
def test_a_look_at_all_jobs_is_one_command(far: Cluster) -> None:
    jobs = [square(x) for x in range(3)]
    tracker, line = far.place.tracker, recording(far)
    watched = [job._watched for job in jobs]
    line.spent()
    tracker.list_outcomes(watched)
    assert line.spent() <= 1
    tracker.query(watched)
    assert line.spent() <= 1
