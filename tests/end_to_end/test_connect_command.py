"""`slurm connect`: a shell or a command beside a running job."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, task

if TYPE_CHECKING:
    from collections.abc import Iterator

SLURM = os.fspath(Path(sys.executable).with_name("slurm"))


@task(env={"OF_THE_JOB": "yes"})
def hold(path: str) -> None:
    Path(f"{path}.running").touch()
    while not Path(path).exists():
        time.sleep(0.1)


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The path that ends the jobs of a test."""
    monkeypatch.chdir(tmp_path)
    yield str(tmp_path / "go")
    (tmp_path / "go").touch()


def connect(on: str, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    argv = (SLURM, "connect", "--on", on, *argv)
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=100)


def test_a_command_and_a_shell_beside_the_job(cluster: Cluster, go: str) -> None:
    job = hold(go)
    while not Path(f"{go}.running").exists():
        time.sleep(0.1)
    show = 'echo "<$0 $1>" $SLURM_JOB_ID; echo err >&2; exit 3'
    done = connect(cluster.url, job.key, "--", "sh", "-c", show, "a b", "$HOME\n'\"!\\")
    assert done.stdout.startswith("<a b $HOME\n'\"!\\> ")
    assert str(job.job_id).split("_", maxsplit=1)[0] in done.stdout
    assert "err\n" in done.stderr
    assert done.returncode == 3
    done = connect(cluster.url, "--json", job.key, "--", "sh", "-c", show, "a b", "ü")
    assert json.loads(done.stdout)["stdout"].startswith("<a b ü> ")
    assert "err\n" in json.loads(done.stdout)["stderr"]
    assert (json.loads(done.stdout)["status"], done.returncode) == (3, 3)
    assert connect(cluster.url, job.key, stdin="echo in $(( 6 * 7 ))\n").stdout == "in 42\n"
    ours, theirs = pty.openpty()
    argv = [SLURM, "connect", "--on", cluster.url, job.key, "--", "sh", "-c", "test -t 0 && test -t 1 && echo $TERM"]
    with subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as shell:
        os.close(theirs)
        assert shell.wait(60) == 0
        assert b"xterm" in os.read(ours, 4096)
    os.close(ours)
    Path(go).touch()
    assert job.result(60) is None


def test_a_job_that_does_not_run_is_an_error(cluster: Cluster, go: str) -> None:
    Path(go).touch()
    job = hold(go)
    job.result(60)
    ended = connect(cluster.url, job.key)
    assert (ended.returncode, ended.stderr) == (1, f"Error: {job.key} does not run: it is COMPLETED\n")


def test_one_call_of_a_map(local: Cluster, go: str) -> None:
    some = hold.map([f"{go}1", go, f"{go}3"])
    for path in (f"{go}1", go):
        while not Path(f"{path}.running").exists():
            time.sleep(0.1)
    several = connect(local.url, some.key)
    assert several.returncode == 2
    assert "of " + some.key + " run: name one" in " ".join(several.stderr.split())
    one = connect(local.url, some[1].key, "--", "sh", "-c", "echo $SLURM_ARRAY_TASK_ID $OF_THE_JOB $PWD")
    assert one.stdout == f"1 yes {os.getcwd()}\n"
    for path in (f"{go}1", f"{go}3"):
        Path(path).touch()
    some[0].result(60), some[2].result(60)
    assert connect(local.url, some.key, "--", "printenv", "SLURM_ARRAY_TASK_ID").stdout == "1\n"
    assert "--on stands before KEY" in connect(local.url, some.key, "--on", "local").stderr
    assert "--json stands before KEY" in connect(local.url, some.key, "--json", "--", "true").stderr
    assert "name a command" in connect(local.url, "--json", some.key).stderr
