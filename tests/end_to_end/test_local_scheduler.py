"""The local scheduler: one supervisor for all of a user's submissions, which may die without losing a job."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm import Cluster, JobState, task
from slurm.errors import JobCancelled
from slurm.schedulers.local_queue import client, wire
from waiting import until


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A supervisor's directory of this test's own."""
    directory = Path(tempfile.mkdtemp(prefix="slurm-local-"))
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(directory))
    monkeypatch.setenv("SLURMTASKS_LOCAL_CPUS", "2")
    yield directory
    client.ask({"do": "stop"})
    shutil.rmtree(directory, ignore_errors=True)  # the supervisor takes its socket with it


def _supervisor(machine: Path) -> int:
    """The process that holds the lock."""
    for lock in Path("/proc/locks").read_text().splitlines():
        fields = lock.split()
        if "FLOCK" in fields and fields[-3].endswith(f":{(machine / wire.FORM / 'lock').stat().st_ino}"):
            return int(fields[-4])
    raise AssertionError("nobody holds the lock")


def test_the_limit_of_cpus_holds_over_all_submissions(machine: Path, root: Path, tmp_path: Path) -> None:
    @task
    def count_me(cpus: int) -> int:
        mine = tmp_path / f"{cpus}-{os.getpid()}"
        mine.touch()
        time.sleep(0.3)
        used = sum(int(path.name.partition("-")[0]) for path in tmp_path.glob("*-*"))
        mine.unlink()
        return used

    with Cluster("local", root=root):
        arrays = [count_me.map([1] * 3), count_me.with_options(cpus_per_task=2).map([2] * 2), count_me.map([1] * 3)]
        greedy = count_me.with_options(cpus_per_task=64)(2)  # more than there are: it gets all that there are
    assert max(used for array in arrays for used in array.results(60)) <= 2
    assert greedy.result(60) == 2


def test_an_earlier_submission_that_needs_more_is_not_starved(machine: Path, root: Path, tmp_path: Path) -> None:
    @task
    def stamp(seconds: float) -> float:
        begun = time.monotonic()
        time.sleep(seconds)
        return begun

    with Cluster("local", root=root):
        stamp(0.5)
        wide = stamp.with_options(cpus_per_task=2)(0)
        later = stamp.map([0.0] * 4)
    assert wide.result(60) < min(later.results(60))


def test_jobs_outlive_their_supervisor_and_the_next_one_knows_them(machine: Path, root: Path, tmp_path: Path) -> None:
    with Cluster("local", root=root):
        nap = task(time.sleep)
        short, long = nap(2), nap(120)
    until(lambda: short.running() and long.running())
    os.kill(_supervisor(machine), signal.SIGKILL)
    assert {short.status().state, long.status().state} == {JobState.RUNNING}
    assert short.result(60) is None
    assert long.cancel()
    with pytest.raises(JobCancelled):
        long.result(60)


def test_many_programs_that_start_at_once_share_one_supervisor(machine: Path, root: Path) -> None:
    program = "import sys; from slurm import Cluster, task\n"
    program += "with Cluster('local', root=sys.argv[1]): print(task(abs)(-1).result(60))"
    clients = [
        subprocess.Popen([sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    assert [client.communicate(timeout=60)[0] for client in clients] == ["1\n"] * 5


def test_a_directory_that_others_could_have_made_is_refused(machine: Path) -> None:
    place = machine / wire.FORM
    place.mkdir(mode=0o777, exist_ok=True)
    place.chmod(0o777)
    with pytest.raises(PermissionError, match=r"can be written by others .* chmod go-w"):
        wire.directory()
    place.chmod(0o700)
