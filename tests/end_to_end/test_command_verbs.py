"""The verbs of the command `slurm` on single jobs: wait, result, retry, script."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slurm import Cluster, JobArray, task
from slurm.cli.main import slurm
from slurm.errors import OptionError


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


def test_result_prints_the_repr_or_the_error(on: str) -> None:
    one, some, bad = greet("ann"), greet.map(["bob", "nobody", "cat"]), greet("nobody")
    fine = run("result", one.key, "--on", on)
    assert (fine.exit_code, fine.output) == (0, "'hello ann'\n")
    assert run("result", one.key, "--json", "--on", on).output == '"hello ann"\n'
    mixed = run("result", some.key, "--on", on)
    assert (mixed.exit_code, mixed.stdout) == (1, "[0] 'hello bob'\n[2] 'hello cat'\n")
    assert mixed.stderr == "[1] ValueError: nobody\n"
    data = run("result", some.key, "--json", "--on", on)
    assert (data.exit_code, json.loads(data.stdout)) == (1, ["hello bob", None, "hello cat"])
    failed = run("result", bad.key, "--on", on)
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "raise ValueError(name)\n" in failed.stderr
    assert f"ValueError: nobody\nin job {bad.key} " in failed.stderr
    assert run("result", bad.key, "--json", "--on", on).stdout == ""


def test_result_of_what_is_not_json_or_has_no_repr(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError

    @task
    def values(of: str) -> object:
        return {"set": {1}, "nan": float("nan"), "silent": Silent()}[of]

    jobs = values.map(["set", "nan", "silent"])
    monkeypatch.chdir(tmp_path)
    shown = run("result", jobs.key, "--on", local.url)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout == "[0] {1}\n[1] nan\n[2] <Silent, whose repr raised RuntimeError>\n"
    for index in range(3):
        refused = run("result", f"{jobs.key}[{index}]", "--json", "--on", local.url)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert f"the result of {jobs.key}[{index}] is not JSON: " in refused.stderr


def test_result_finds_modules_of_the_working_directory(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shapes_of_a_user.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Disk:\n    r: int\n"
    )
    monkeypatch.chdir(tmp_path)

    @task
    def disk() -> object:
        sys.path.append(str(tmp_path))
        return importlib.import_module("shapes_of_a_user").Disk(3)

    job = disk()
    slurm = Path(sys.executable).with_name("slurm")  # unlike `python -m slurm`, does not search the working directory
    done = subprocess.run([slurm, "result", job.key, "--on", local.url], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Disk(r=3)\n", "")


def test_retry_submits_calls_once_more_with_other_options(on: str, cluster: Cluster) -> None:
    some, one = greet.map(["ann", "nobody", "bob"]), greet("cat")
    some.exceptions(60)
    failed = run("retry", some.key, "--failed", "--mem", "123M", "--time", "7", "--option", "nice=true", "--on", on)
    assert failed.exit_code == 0
    again = cluster.job(failed.stdout.strip())
    assert isinstance(again, JobArray)
    assert [type(error) for error in again.exceptions(60)] == [ValueError]
    options = json.loads(Path(again.directory, "submission.json").read_text())["options"]
    assert options == {"mem": "123M", "time": "7", "nice": True}
    assert again.key != some.key
    single = run("retry", f"{some.key}[0]", "--on", on).stdout.strip()
    assert cluster.job(single).result(60) == "hello ann"  # type: ignore[union-attr]
    whole = cluster.job(run("retry", some.key, "--on", on).stdout.strip())
    assert isinstance(whole, JobArray)
    assert [type(error) for error in whole.exceptions(60)] == [type(None), ValueError, type(None)]
    one.result(60)
    none = run("retry", one.key, "--failed", "--on", on)
    assert (none.exit_code, none.stdout, none.stderr) == (0, "", f"no call of {one.key} has failed\n")


def test_retry_refuses_wrong_options_and_leaves_out_running_calls(local: Cluster, tmp_path: Path) -> None:
    held = wait_for.map([str(tmp_path / "go"), str(tmp_path)])
    held[1].result(60)
    late = run("retry", held.key, "--failed", "--on", local.url)
    assert (late.exit_code, late.stdout) == (0, "")
    assert f"not retried, because not ended: 1 of 2 calls of {held.key}\n" in late.stderr
    (tmp_path / "go").touch()
    held.results(60)
    for wrong in ("tiem=3", "mem=lots", "labels=[1]"):
        refused = run("retry", held.key, "--option", wrong, "--on", local.url)
        assert isinstance(refused.exception, OptionError), wrong
    assert run("retry", held.key, "--option", "mem", "--on", local.url).exit_code == 2
    assert len(local.jobs()) == 1
