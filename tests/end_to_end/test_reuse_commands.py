"""Commands and values that were put, with `reuse=True`: what they hold counts, not where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Finished, Job, TaskExited, command, task

if TYPE_CHECKING:
    from slurm import Cluster

inner = command("cat data.txt", files=["data.txt"])


@task(reuse=True)
def uses_a_command(x: int) -> tuple[int, str]:
    return x, inner.name


@task(reuse=True)
def size(values: list[int]) -> int:
    return len(values)


def show(number: int) -> Job[Finished]:
    """Run a command that is made anew, as a script does that is run again."""
    made = command("cp data.txt out.{number}", files=["data.txt"], products=["out.*"], reuse=True)
    job: Job[Finished] = made(number)
    return job


def test_a_command_runs_again_only_if_its_files_or_values_change(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.txt").write_text("one")
    first = show(1)
    assert first.result(90).products[0].read_text() == "one"
    assert show(1) == first
    assert show(2) != first
    Path("data.txt").write_text("two")
    second = show(1)
    assert second != first
    assert second.result(90).products[0].read_text() == "two"
    Path("data.txt").write_text("one")
    assert show(1) == first


def test_a_runner_that_is_killed_before_the_outcome_leaves_nothing_that_is_reused(
    cluster: Cluster, tmp_path: Path
) -> None:
    script = "echo $$ >> out; mkdir $0 && kill -9 $PPID; wait; echo whole >> out"
    made = command(f"sh -c '{script}' {{flag}}", products=["out"], reuse=True)
    first = made(tmp_path / "flag")
    assert isinstance(first.exception(90), TaskExited)
    again = made(tmp_path / "flag")
    assert again != first
    assert again.result(90).products[0].read_text().split()[1:] == ["whole"]
    assert made(tmp_path / "flag") == again


def test_the_files_of_a_command_that_a_function_uses_count(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.txt").write_text("one")
    first = uses_a_command(1)
    first.result(90)
    assert uses_a_command(1) == first
    Path("data.txt").write_text("two")
    assert uses_a_command(1) != first


def test_what_was_put_counts_by_its_content(cluster: Cluster) -> None:
    first = size(cluster.put([1, 2]))
    assert first.result(90) == 2
    assert size(cluster.put([1, 2])) == first
    assert size(cluster.put([1, 3])) != first
