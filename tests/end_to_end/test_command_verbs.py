"""The verbs of the command `slurm` on single jobs: wait, result, retry, script."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slurm import Cluster, task
from slurm.cli.main import slurm


@task
def greet(name: str) -> str:
    print("greeting", name)
    if name == "nobody":
        raise ValueError(name)
    return f"hello {name}"


@task
def wait_for(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.1)


@pytest.fixture
def on(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the cluster, in a directory without a Slurmfile."""
    monkeypatch.chdir(tmp_path)
    return cluster.url


def run(*argv: str) -> Result:
    return CliRunner().invoke(slurm, argv)


def test_wait_prints_a_line_for_each_key_and_tells_by_its_status(on: str, tmp_path: Path) -> None:
    one, some = greet("ann"), greet.map(["bob", "nobody"])
    fine = run("wait", one.key, one.key, "--on", on)
    assert (fine.exit_code, fine.stderr) == (0, "")
    assert fine.stdout.startswith(f"{one.key}: COMPLETED after ")
    assert fine.stdout.count("\n") == 1
    both = run("wait", some.key, one.key, f"{some.key}[0]", "--on", on)
    assert both.exit_code == 1
    lines = dict(line.split(": ", 1) for line in both.stdout.splitlines())
    assert lines.keys() == {some.key, one.key, f"{some.key}[0]"}
    assert lines[some.key].startswith("1 COMPLETED, 1 FAILED after ")
    assert lines[some.key].endswith(": [1] ValueError: nobody")
    (found,) = json.loads(run("wait", some.key, "--json", "--on", on).stdout)
    assert (found["key"], found["states"]) == (some.key, {"COMPLETED": 1, "FAILED": 1})
    assert (found["failed"], found["error"]) == ([1], "ValueError: nobody")
    held = wait_for(str(tmp_path / "go"))
    late = run("wait", held.key, one.key, "--timeout", "1s", "--on", on)
    assert (late.exit_code, late.stdout.startswith(f"{one.key}: COMPLETED")) == (1, True)
    assert late.stderr == f"not ended after 1 s; the job goes on: {held.key}\n"
    (tmp_path / "go").touch()
    assert run("wait", held.key, "--on", on).exit_code == 0


def test_script_prints_the_script_that_was_submitted(on: str) -> None:
    some = greet.map(["ann", "bob"])
    printed = run("script", some.key, "--on", on)
    assert printed.stdout == Path(some.directory, "script.sh").read_text()
    assert printed.stdout.startswith("#!/bin/bash\n")
    assert run("script", f"{some.key}[1]", "--on", on).stdout == printed.stdout
    some.results(60)
    Path(some.directory, "script.sh").unlink()
    gone = run("script", some.key, "--on", on)
    assert (gone.exit_code, "script.sh does not exist" in str(gone.exception)) == (1, True)
