"""Failures of programs that have names, and files that are sent under other names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slurm import CommandFailed, Retry, command
from slurm.tools import Diagnosis

if TYPE_CHECKING:
    from slurm import Cluster


def named(log: str, exit_status: int) -> Diagnosis | None:
    """The name of a failure, by what the program prints."""
    if exit_status == 9:
        raise ValueError("this function has a bug")
    return Diagnosis("DIVERGED", "halve dt") if "diverged" in log else None


def test_a_failure_has_the_name_that_its_function_gives(cluster: Cluster) -> None:
    solve = command("sh -c 'echo it diverged >&2; exit 3'", diagnose=named)
    error = solve().exception(60)
    assert isinstance(error, CommandFailed)
    assert (error.diagnosis, error.exit_code) == ("DIVERGED", 3)
    assert str(error).startswith("DIVERGED: halve dt. sh: `sh -c")


def test_a_failure_is_retried_by_its_name(local: Cluster, tmp_path: Path) -> None:
    how = Retry(times=2, on="DIVERGED")
    solve = command("sh -c 'echo x >> {seen}; echo diverged >&2; exit 1'", diagnose=named, retry=how)
    assert isinstance(solve(tmp_path / "solve").exception(60), CommandFailed)
    other = command("sh -c 'echo x >> {seen}; exit 1'", diagnose=named, retry=how)
    assert isinstance(other(tmp_path / "other").exception(60), CommandFailed)
    assert [(tmp_path / name).read_text().count("x") for name in ("solve", "other")] == [3, 1]


def test_a_function_that_fails_to_name_a_failure_does_not_hide_it(local: Cluster) -> None:
    error = command("sh -c 'exit 9'", diagnose=named)().exception(60)
    assert isinstance(error, CommandFailed)
    assert (error.diagnosis, error.exit_code) == (None, 9)
    assert str(error).startswith("diagnose raised ValueError: this function has a bug. ")


def test_files_from_elsewhere_have_the_names_that_they_get(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "mesh of ann.txt").write_text("1 2 3")
    done = command("cp in/mesh.txt copy", files={"in/mesh.txt": tmp_path / "mesh of ann.txt"}, products=["copy"])()
    assert done.result(60).products[0].read_text() == "1 2 3"
