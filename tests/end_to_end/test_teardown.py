"""Lines of the task itself before and after its call: they share a shell, and the last ones run whatever happens."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, Retry, TaskExited, current_job, task
from slurm.errors import OptionError, SetupFailed
from waiting import until

if TYPE_CHECKING:
    from pathlib import Path


@task
def variable(name: str) -> str | None:
    return os.environ.get(name)


@task
def leave(status: int) -> None:
    os._exit(status)


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "note"


def test_lines_of_a_task_follow_those_of_its_cluster(slurm_env: object, root: Path, note: Path) -> None:
    del slurm_env
    for url in ("local", "slurm"):
        with Cluster(url, root=root / url, setup=["export A=1"]):
            said = variable.with_options(setup=["export B=$A$A"], teardown=f"echo $B >> {note}")
            assert said("B").result(60) == "11"
            until(note.exists)
            assert said.with_options(setup=None)("B").result(60) is None
            until(lambda: note.read_text() == "11\n\n")
        note.unlink()


def test_it_runs_after_a_failure_of_the_task_and_of_the_setup(cluster: Cluster, note: Path) -> None:
    lines = ["false", f"echo torn down >> {note}", "exit 5"]
    dead = leave.with_options(teardown=lines)(3)
    with pytest.raises(TaskExited):
        dead.result(60)
    until(lambda: note.exists() and note.read_text() == "torn down\n")
    assert "teardown: failed with status 1 at: false" in dead.logs()
    with pytest.raises(SetupFailed, match="at: ls /no/such/place"):
        variable.with_options(setup=["ls /no/such/place", "touch unreached"], teardown=lines)("A").result(60)
    until(lambda: note.read_text() == "torn down\ntorn down\n")


def test_it_runs_before_the_next_attempt(cluster: Cluster, note: Path) -> None:
    @task(retry=Retry(times=1, on=TaskExited), setup=f"echo up >> {note}", teardown=f"sleep 1; echo down >> {note}")
    def again() -> int:
        if current_job().attempt == 1:
            os._exit(1)
        return current_job().attempt

    assert again().result(120) == 2
    until(lambda: note.read_text() == "up\ndown\nup\ndown\n")


def test_it_runs_when_a_job_is_cancelled(cluster: Cluster, note: Path) -> None:
    begun = note.with_name("begun")

    @task(teardown=f"echo torn down > {note}")
    def wait(begun: str) -> None:
        open(begun, "x").close()
        time.sleep(60)

    job = wait(str(begun))
    until(begun.exists)
    job.cancel()
    until(note.exists)


def test_lines_are_checked(local: Cluster) -> None:
    for wrong in ([], "", ["a\x07"], [1]):
        with pytest.raises(OptionError, match="option teardown"):
            variable.on(local).with_options(teardown=wrong)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="teardown="):
        variable.on(local).with_options(epilogue="true")  # type: ignore[call-overload]
