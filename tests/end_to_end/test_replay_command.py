"""`slurm replay`: a call of a job, made again in another process, and in the debugger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slurm import Cluster, JobContext, command, current_job, task, workflow

if TYPE_CHECKING:
    from collections.abc import Sequence

SLURM = os.fspath(Path(sys.executable).with_name("slurm"))


@task
def ratio(x: int, y: int = 1) -> float:
    return x / y


@task
def total(values: Sequence[float], weights: Any, ctx: JobContext) -> dict[str, Any]:
    (ctx.output_directory() / "used").touch()
    index = current_job().index
    return {"total": float(sum(values) * sum(weights)), "mode": os.environ.get("MODE"), "index": index}


@task
def inner_of_a_library() -> Any:
    marker = "the user's frame"
    return json.loads("{" + marker)


@workflow
def flow() -> None:
    ratio(1).result()


@pytest.fixture
def on(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return cluster.url


def replay(on: str, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    argv = (SLURM, "replay", "--on", on, *argv)
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=100)


def test_the_failed_call_fails_here_and_another_succeeds(on: str) -> None:
    some = ratio.starmap([(1, 2), (1, 0), (2, 0)])
    some.exceptions(60)
    failed = replay(on, some.key)
    assert (failed.returncode, failed.stdout) == (1, "")
    first, *rest = failed.stderr.splitlines()
    assert first.startswith(f"replay of {some.key}[1] by Python 3.")
    assert rest[0] == "Traceback (most recent call last):"
    assert "test_replay_command.py" in rest[1]
    assert rest[-1] == "ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in replay(on, some.key, "2").stderr
    assert replay(on, some.key, "0").stdout == replay(on, f"{some.key}[0]", "--json").stdout == "0.5\n"
    for argv, message in [
        ([some.key, "3"], "has 3 calls, from 0: there is no 3."),
        ([f"{some.key}[0]", "1"], "is a single call: leave out the INDEX 1."),
        ([ratio.map([1]).key], "no call of"),
    ]:
        wrong = replay(on, *argv)
        assert (wrong.returncode, message in " ".join(wrong.stderr.split())) == (2, True), wrong.stderr


def test_the_debugger_opens_in_the_frame_of_the_user(on: str) -> None:
    job = inner_of_a_library()
    job.exception(60)
    seen = replay(on, job.key, "--pdb", stdin="p 'seen: ' + marker\nq\n")
    assert seen.returncode == 1
    assert '"seen: the user\'s frame"' in seen.stdout
    assert "json.decoder.JSONDecodeError" in seen.stderr


def test_arguments_of_all_kinds_and_the_variables(local: Cluster, tmp_path: Path) -> None:
    halves = ratio.map([1, 2], y=2)
    weights = local.put(np.ones(1000))
    job = total.with_options(env={"MODE": "fast"})(halves, weights)
    there = job.result(60)
    here = replay(local.url, job.key, "--json")
    assert json.loads(here.stdout) == there == {"total": 1500.0, "mode": "fast", "index": 0}
    before = set(Path(job.directory).rglob("*"))
    assert replay(local.url, job.key).stdout == f"{there!r}\n"
    assert set(Path(job.directory).rglob("*")) == before
    wanted = {
        flow().key: "a workflow submits its calls from where it runs",
        command("true")().key: "a command runs a program in a directory of the job",
    }
    for key, message in wanted.items():
        refused = replay(local.url, key)
        assert (refused.returncode, message in refused.stderr) == (1, True)


def test_how_this_process_differs_from_the_job(local: Cluster) -> None:
    job = ratio(1)
    record = Path(job.directory, "submission.json")
    content = json.loads(record.read_text())
    content["environment"] |= {"packages": ["numpy==0.1", "no-such-package==1"], "setup": ["true"]}
    record.write_text(json.dumps(content))
    first, *_ = replay(local.url, job.key).stderr.splitlines()
    found = first.partition(": ")[2].split("; ")
    assert found[0] == f"numpy is {np.__version__} here, 0.1 there"
    assert found[1:] == ["no-such-package is missing here", "the setup lines of its environment are not run"]
    content["environment"]["tag"] = "3.1"
    record.write_text(json.dumps(content))
    assert "the call was pickled by Python 3.1, and this is Python" in replay(local.url, "last").stderr


def test_functions_of_scripts_and_of_their_modules(local: Cluster, tmp_path: Path) -> None:
    (tmp_path / "helper_of_a_script.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "script.py").write_text(
        textwrap.dedent(f"""
        from slurm import Cluster, task
        OFFSET = 5
        @task
        def near(x):
            from helper_of_a_script import double
            return double(x) + OFFSET
        with Cluster({local.url!r}):
            print(near(1).key)
        """)
    )
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True)
    assert replay(local.url, done.stdout.strip()).stdout == "7\n"
