"""What goes wrong while jobs are handed to Slurm, or taken back: each runs once or not at all, by few commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import slurm.schedulers.client
from faults.conftest import Start
from slurm import Cluster, Job, JobArray, JobState, Retry, current_job, task
from slurm.cli.main import slurm as command
from slurm.errors import JobCancelled, JobNotStarted, SubmissionError, SubmissionRefused, TaskExited
from slurm.schedulers.base import Site, Target
from slurm.schedulers.client import SchedulerClient
from slurm.schedulers.slurm import SlurmScheduler
from slurm.transports.local import LocalTransport
from slurm.views.status import statuses
from testbed import SlurmTestbed
from testbed.fixtures import require
from waiting import until

pytestmark = pytest.mark.slurm


@pytest.fixture(autouse=True)
def slurm_(root: Path) -> Iterator[Cluster]:
    """The active cluster."""
    with Cluster("slurm", root=root) as cluster:
        yield cluster


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that comes first on PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


def _write(command: Path, script: str) -> None:
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)


@task
def leave_trace(trace: Path, seconds: float) -> None:
    (trace / str(os.getpid())).touch()
    time.sleep(seconds)


def test_job_of_a_hanging_sbatch_is_found_and_runs_once(
    start: Start, commands: Path, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    testbed = start()
    # The real one, which then hangs: as behind a dead connection.
    real, asked = shutil.which("sbatch", path=testbed.env["PATH"]), tmp_path / "asked"
    _write(commands / "sbatch", f'echo once >> {asked}; {real} "$@"; sleep 600')
    monkeypatch.setattr(slurm.schedulers.client, "TIMEOUT", 1.0)
    begin = time.monotonic()
    job = leave_trace(trace, 0)
    assert job.result(60) is None
    assert time.monotonic() - begin < 60
    assert asked.read_text() == "once\n"
    assert len(list(trace.iterdir())) == 1
    assert testbed.run("squeue", "-h", "-t", "all", "-o", "%k").stdout.split() == [job.key]


def test_job_with_unknown_id_can_be_cancelled(start: Start, slurm_: Cluster, root: Path, commands: Path) -> None:
    testbed = start()
    # The shell that was to record the id dies with its client, once the job is queued.
    _write(commands / "mv", "read -r _ _ _ client _ < /proc/$PPID/stat; kill -9 $PPID $client")
    program = (
        "import sys, time; from slurm import Cluster, task\n"
        "with Cluster('slurm', root=sys.argv[1]): task(time.sleep)(300)"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, str(root)], capture_output=True, check=False)
    (commands / "mv").unlink()
    assert list(root.rglob("submitted.json")) == []
    jobs = slurm_.jobs()
    assert {told[0].state for told in statuses([job.part for job in jobs])} <= {JobState.PENDING, JobState.RUNNING}
    assert slurm_.command_counts()["find"] == 1  # for both
    for job in jobs:
        assert isinstance(job, Job)
        assert job.cancel()
        with pytest.raises(JobCancelled):
            job.result(60)
    assert testbed.run("squeue", "-h").stdout == ""


def test_rejected_submission_is_refused_in_every_process_without_a_query(
    start: Start, slurm_: Cluster, root: Path
) -> None:
    start()
    with pytest.raises(SubmissionRefused) as refused:
        leave_trace.with_options(partition="nope", retry=3).starmap([(root, 0.0)] * 5)
    with pytest.raises(SubmissionRefused):
        leave_trace.with_options(partition="nope")(root, 0.0)
    job, array = slurm_.jobs()
    assert isinstance(job, Job)
    assert isinstance(array, JobArray)
    assert "Partitions: debug (default): " in str(refused.value)
    assert refused.value.offers.endswith(" MB")
    assert (refused.value.certain, array.states()) == (True, {JobState.REFUSED: 5})
    assert (job.status().state, job.status().reason) == (JobState.REFUSED, refused.value.output)
    shown = CliRunner().invoke(command, ["show", job.key, "--on", slurm_.url])
    assert (shown.exit_code, "REFUSED" in shown.output, "invalid partition" in shown.output) == (1, True, True)
    with pytest.raises(JobNotStarted, match=r"was refused.*invalid partition specified: nope"):
        job.result(60)
    assert {type(error) for error in array.exceptions(60)} == {JobNotStarted}
    assert slurm_.command_counts().keys() <= {"limits", "submit"}
    assert slurm_.command_counts()["submit"] == 2
    assert [type(job) for job in array.retry_failed(partition="debug")] == [Job] * 5


def test_rejection_after_an_unanswered_try_is_not_certain(
    start: Start, slurm_: Cluster, commands: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    testbed = start()
    # The real one, but for its first try: that may have been taken, and be worked off later.
    real, again = shutil.which("sbatch", path=testbed.env["PATH"]), tmp_path / "again"
    lost = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    _write(commands / "sbatch", f'[ ! -e {again} ] || exec {real} "$@"; touch {again}; echo "{lost}" >&2; exit 1')
    monkeypatch.setattr(slurm.schedulers.client, "_BACKLOG", 0.0)
    with pytest.raises(SubmissionRefused) as refused:
        leave_trace.with_options(partition="nope")(root, 0.0)
    (job,) = slurm_.jobs()
    assert isinstance(job, Job)
    assert (refused.value.certain, job.status().state) == (False, JobState.UNKNOWN)
    assert "has not been queued" in (job.status().reason or "")


@pytest.mark.parametrize("ending", ["kill -9 $$", "exit 0", "echo oh >&2; exit 1"])
def test_job_of_an_sbatch_with_unclear_result_is_found(start: Start, commands: Path, trace: Path, ending: str) -> None:
    testbed = start()
    # The real one, which then ends so: by a login node's memory limit, or in a site's wrapper.
    real = shutil.which("sbatch", path=testbed.env["PATH"])
    _write(commands / "sbatch", f'{real} "$@" > /dev/null; {ending}')
    job = leave_trace(trace, 0)
    assert (Path(job.directory) / "submitted.json").exists()
    assert job.result(60) is None
    assert len(list(trace.iterdir())) == 1


@pytest.mark.parametrize(
    "wrapper",
    [
        '{real} "$@" || exit; echo "Charged to account physics: 3.2 SU"',
        'echo "Job 12 of 100"; echo; {real} "$@"; echo 8 files checked',
        'for x; do shift; [ "$x" = --parsable ] || set -- "$@" "$x"; done; {real} "$@"',
    ],
    ids=["after", "around", "not parsable"],
)
def test_id_is_found_in_the_output_of_a_wrapper(start: Start, commands: Path, trace: Path, wrapper: str) -> None:
    testbed = start()
    _write(commands / "sbatch", wrapper.format(real=shutil.which("sbatch", path=testbed.env["PATH"])))
    assert leave_trace.starmap([(trace, 0.0)] * 3).results(60) == [None] * 3
    assert len(list(trace.iterdir())) == 3


def test_job_is_not_submitted_again_while_slurmctld_stays_frozen(
    start: Start, slurm_: Cluster, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    testbed = start(settings={"MessageTimeout": "2"})
    monkeypatch.setattr(slurm.schedulers.client, "_BACKLOG", 3.0)
    testbed.slurmctld.pause()
    try:
        with pytest.raises(SubmissionRefused, match="timed out") as refused:
            leave_trace(trace, 0)
    finally:
        testbed.slurmctld.resume()
    assert not refused.value.certain
    (job,) = slurm_.jobs()
    assert isinstance(job, Job)
    assert not (Path(job.directory) / "refused.json").exists()
    until(lambda: list(trace.iterdir()))  # what was sent was taken when it went on
    assert job.result(60) is None
    assert len(list(trace.iterdir())) == 1


@pytest.mark.parametrize(
    ("killer", "queued"),
    [("sbatch", 0), ("sbatch", 1), ("sbatch", 2), ("mv", 3)],
    ids=["none", "one", "two", "unrecorded"],
)
def test_submission_killed_at_any_point_loses_and_repeats_nothing(
    start: Start, slurm_: Cluster, commands: Path, trace: Path, killer: str, queued: int
) -> None:
    testbed = start(settings={"MaxArraySize": "2"})
    # The real one, which takes its shell and the client with it once so many of the three blocks are queued.
    real, count = shutil.which(killer, path=f"{testbed.env['PATH']}:{os.defpath}"), f"{trace}.count"
    _write(
        commands / killer,
        f'[ {queued} = 0 ] || {real} "$@"; echo >> {count}; [ $(wc -l < {count}) -ge {queued % 3} ] || exit 0\n'
        "read -r _ _ _ client _ < /proc/$PPID/stat; kill -9 $PPID $client",
    )
    program = (
        "import os, sys; from pathlib import Path; from slurm import Cluster, task\n"
        "def leave(path, n): (Path(path) / f'{n}.{os.getpid()}').touch()\n"
        "with Cluster('slurm', root=sys.argv[1]): task(leave).map([sys.argv[2]] * 5, range(5))"
    )
    root = slurm_.url.removeprefix("slurm://")
    done = subprocess.run([sys.executable, "-c", program, root, str(trace)], capture_output=True, check=False)
    assert done.returncode == -9, done
    (commands / killer).unlink()
    (array,) = slurm_.jobs()
    assert isinstance(array, JobArray)
    if queued:
        assert array.results(100) == [None] * 5
        assert sorted(path.name[0] for path in trace.iterdir()) == list("01234")
    else:
        assert set(array.states()) == {JobState.UNKNOWN}
        assert testbed.run("squeue", "-h", "-t", "all").stdout == ""


@task(retry=Retry(times=1, on=TaskExited))
def fail_first_then_add(mark: Path, left: int, right: int) -> tuple[int, str | None, int]:
    """Fails in its first attempt; then the sum, its id, and the attempt."""
    job = current_job()
    if job.attempt == 1:
        os._exit(3)
    (mark / f"{job.index}.{os.getpid()}").touch()
    return left + right, job.job_id, job.attempt


@task
def first(told: tuple[int, str | None, int]) -> int:
    return told[0]


def test_each_element_is_a_job_without_job_arrays(start: Start, slurm_: Cluster, trace: Path) -> None:
    testbed = start(settings={"MaxArraySize": "0"})
    one = fail_first_then_add(trace, 1, 2)
    several = fail_first_then_add.map([trace] * 3, range(3), [10] * 3)
    after_one, after_several = first(one), first.map(several)
    after_two = first.after(several[0], several[2])(one)
    assert one.job_id is not None
    assert one.job_id.isdecimal()
    assert after_one.result(100) == after_two.result(100) == 3
    assert after_several.results(100) == [10, 11, 12]
    result, job_id, attempt = one.result(60)
    assert (result, attempt, str(job_id).isdecimal()) == (3, 2, True)
    assert len(list(trace.iterdir())) == 4
    assert "--array" not in (Path(several.directory) / "script.sh").read_text()
    array = leave_trace.starmap([(trace, 0.0)] * 10, chunk_size=4)
    assert array.results(60) == [None] * 10
    assert {job.logs() for job in array} == {""}

    held = leave_trace.with_options(hold=True).starmap([(trace, 0.0)] * 3)
    assert set(held.states()) == {JobState.PENDING}
    held[1].cancel()
    assert isinstance(held[1].exception(60), JobCancelled)
    assert held[0].status().state is held[2].status().state is JobState.PENDING
    held.cancel()
    assert {type(error) for error in held.exceptions(60)} == {JobCancelled}
    until(lambda: testbed.run("squeue", "-h", "-o", "%T %k").stdout == "")  # jobs that retry are cancelled later

    with pytest.raises(SubmissionError, match=r"MaxArraySize=0.*chunk_size=3"):
        leave_trace.starmap([(trace, 0.0)] * 201)
    assert leave_trace.starmap([(trace, 0.0)] * 201, chunk_size=30).results(100) == [None] * 201
    shown = CliRunner().invoke(command, ["doctor", slurm_.url])
    assert "job arrays are disabled" in shown.output
    assert "chunk_size=" in shown.output


def test_map_of_thousands_is_cancelled_by_one_command(start: Start, slurm_: Cluster, trace: Path) -> None:
    testbed = start()
    array = leave_trace.with_options(hold=True).starmap([(trace, 300.0)] * 3000)
    assert len(testbed.run("squeue", "-h").stdout.splitlines()) == 3  # MaxArraySize is 1001
    array.cancel()
    assert slurm_.command_counts()["cancel"] == 1
    assert {type(error) for error in array.exceptions(200)} == {JobCancelled}
    assert array.states() == {JobState.CANCELLED: 3000}
    assert testbed.run("squeue", "-h").stdout == ""


def test_thousands_of_ids_are_split_into_several_commands(commands: Path, tmp_path: Path) -> None:
    # Fakes, since a test cluster can't be given so many jobs soon; the builders and the transport are the real ones.
    key, asked, ended = "f/20261127T093012Z-1a2b3c4d", tmp_path / "asked", tmp_path / "ended"
    rows = f"for id in $(echo $ids | tr , ' '); do echo \"$id\x1f{key}\x1f/jobs/{key}/script.sh\"; done"
    ids_of = "for last; do :; done; ids=${last#--jobs=}"
    _write(
        commands / "squeue", f'{ids_of}; echo $ids >> {asked}; printf "ARRAY_JOB_ID\x1fARRAY_TASK_ID\x1f\\n"; {rows}'
    )
    _write(commands / "scancel", f'shift; echo "$*" >> {ended}')
    controller = SchedulerClient(SlurmScheduler(Site("python3", "")), LocalTransport())
    ids = [str(1_000_000_000 + n) for n in range(4500)]
    assert len(controller.query(ids).reports) == 4500
    assert controller.calls == {"query": 3}
    assert ",".join(asked.read_text().split()) == ",".join(ids)

    controller.cancel([Target(id_, None, key) for id_ in ids])
    assert controller.calls["cancel"] == 3
    assert ended.read_text().split() == ids

    ended.unlink()
    # Too long for one argument, as numbers.
    controller.cancel([Target("1", range(0, 100_000, 2), key), Target("2", None, key)])
    assert controller.calls["cancel"] <= 3 + 26
    words = ended.read_text().split()
    assert words[-1] == "2"
    assert ",".join(word.removeprefix("1_[").rstrip("]") for word in words[:-1]) == ",".join(
        map(str, range(0, 100_000, 2))
    )


def test_unknown_account_or_qos_is_rejected(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require(accounting=True)
    with SlurmTestbed(nodes=1, accounting=True, settings={"AccountingStorageEnforce": "associations,qos"}) as testbed:
        for name, value in testbed.env.items():
            monkeypatch.setenv(name, value)
        user = testbed.run("id", "-un").stdout.strip()
        testbed.run("sacctmgr", "-i", "add", "account", "physics")
        testbed.run("sacctmgr", "-i", "add", "user", user, "account=physics")
        # slurmctld is told of them in a moment.
        until(lambda: testbed.run("sbatch", "-H", "-o", "/dev/null", "--wrap", "true", check=False).returncode == 0)
        with Cluster("slurm", root=root):
            with pytest.raises(SubmissionRefused, match="Invalid account or account/partition combination"):
                task(abs).with_options(account="chemistry")(-1)
            with pytest.raises(SubmissionRefused, match="Invalid qos specification"):
                task(abs).with_options(qos="gold")(-1)
            assert task(abs).with_options(account="physics", qos="normal")(-1).result(60) == 1
