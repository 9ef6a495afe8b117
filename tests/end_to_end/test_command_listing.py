"""`slurm jobs` and its other name `slurm ls`: which jobs are listed, and how it looks on a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from slurm import Cluster, task
from slurm.cli.main import slurm
from terminals import at_terminal

if TYPE_CHECKING:
    from pathlib import Path


@task
def train(x: int) -> int:
    if x < 0:
        raise ValueError(x)
    return x


@task
def größe(x: int) -> int:  # noqa: PLC2401 - as some users write
    return x


def run(*argv: str) -> Result:
    return CliRunner().invoke(slurm, argv)


def keys(*argv: str) -> set[str]:
    return {item["key"] for item in json.loads(run("ls", *argv, "--json").stdout)}


def test_jobs_are_chosen_by_state_time_and_pattern(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    on = cluster.url
    none = run("ls", on)
    assert (none.exit_code, none.stdout, none.stderr.splitlines()[0]) == (0, "", f"there are no jobs on {on}")
    good, some, other = train(1), train.map([2, -2]), größe(3)
    assert (good.result(60), some.exceptions(60)[0], other.result(60)) == (1, None, 3)
    every = {good.key, some.key, other.key}
    assert keys(on) == keys(on, "--since", "1h") == keys(on, "--since", "2020-01-01") == every
    assert keys(on, "--state", "FAILED") == {some.key}
    assert keys(on, "--state", "f", "--state", "cd") == every
    assert keys(on, "--state", "completed", "--limit", "1") < every
    assert keys(on, "--task", "tr*n") == keys(on, "--task", "train") == {good.key, some.key}
    assert keys(on, "--task", "grö*") == keys(on, "--task", "größe") == {other.key}
    assert keys(on, "--since", "2999-01-01") == keys(on, "--state", "TIMEOUT") == keys(on, "--task", "rain") == set()
    unknown = run("jobs", on, "--task", "trian", "--state", "TIMEOUT")
    words = f"there are no jobs of trian that are TIMEOUT on {on}; there are jobs of gr_e, train\n"
    assert (unknown.exit_code, unknown.stdout, unknown.stderr) == (0, "", words)
    assert run("jobs", on, "--task", "train", "--state", "TIMEOUT").stderr.endswith(f"on {on}\n")
    for wrong in (["--state", "broken"], ["--since", "2"], ["--since", "soon"], ["--since", "1e3d"]):
        refused = run("jobs", on, *wrong)
        assert (refused.exit_code, "Invalid value for" in refused.output) == (2, True), wrong


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_table_fits_the_terminal(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.chdir(tmp_path)
    some = train.map([2, -2])
    some.exceptions(60)
    lines = at_terminal(columns, "jobs", local.url)
    assert max(map(len, lines)) <= columns
    assert (len(lines) == 2) == (columns == 200)
    assert sum(line.startswith(some.key) for line in lines) == 1
    assert " ".join(" ".join(lines).split()).endswith("2 1 COMPLETED, 1 FAILED")


def test_colours_are_for_terminals_and_not_with_no_color(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert any("\x1b[31merror" in line for line in at_terminal(80, "show", "no/job", "--on", local.url))
    plain = at_terminal(80, "show", "no/job", "--on", local.url, NO_COLOR="1")
    assert plain[0].startswith("error: ")
    assert "\x1b" not in "".join(at_terminal(80, "doctor", local.url, NO_COLOR="1"))
    assert "\x1b[32mok" in "".join(at_terminal(80, "doctor", local.url))
    assert "\x1b" not in run("doctor", local.url).output
