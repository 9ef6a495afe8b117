"""`slurm debug`: the stacks of a running call, by py-spy or by the runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, current_job, task

if TYPE_CHECKING:
    from collections.abc import Iterator

SLURM = os.fspath(Path(sys.executable).with_name("slurm"))


@task
def outer(path: str) -> str:
    waiting = threading.Thread(target=in_a_thread, args=(path,))
    waiting.start()
    subprocess.run(
        ["sh", "-c", f"touch '{path}.{current_job().index}'; while [ ! -e '{path}' ]; do sleep 0.1; done"], check=True
    )
    waiting.join()
    return "ended"


def in_a_thread(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.1)


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The path that ends the jobs of a test."""
    monkeypatch.chdir(tmp_path)
    yield str(tmp_path / "go")
    (tmp_path / "go").touch()


def wait_for(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.1)


def debug(on: str, key: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SLURM, "debug", key, "--on", on, *more], capture_output=True, text=True, check=False, timeout=100
    )


def test_the_stacks_of_all_threads_and_the_job_goes_on(cluster: Cluster, go: str) -> None:
    job = outer(go)
    wait_for(f"{go}.0")
    for _ in range(2):
        shown = debug(cluster.url, job.key)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert shown.stdout.startswith("==> process ")
        assert "in outer\n" in shown.stdout
        assert "in in_a_thread\n" in shown.stdout
    assert "in in_a_thread" in job.logs()
    (process,) = json.loads(debug(cluster.url, job.key, "--json").stdout)
    functions = [[frame["function"] for frame in thread["frames"]] for thread in process["threads"]]
    assert sorted(next(name for name in names if name in ("outer", "in_a_thread")) for names in functions) == [
        "in_a_thread",
        "outer",
    ]
    Path(go).touch()
    assert job.result(60) == "ended"
    assert f"{job.key} does not run: it is COMPLETED" in debug(cluster.url, job.key).stderr


def test_py_spy_beside_the_python_of_the_job_is_used(
    local: Cluster, go: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = tmp_path / "bin" / "py-spy"
    spy.parent.mkdir()
    spy.write_text('#!/bin/sh\n[ -e refuse ] && { echo "Permission Denied" >&2; exit 1; }\necho "spied: $*"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    job = outer(go)
    wait_for(f"{go}.0")
    shown = debug(local.url, job.key)
    pid = shown.stdout.split()[2]
    assert shown.stdout.splitlines()[1] == f"spied: dump --pid {pid}"
    (tmp_path / "refuse").touch()
    refused = debug(local.url, job.key)
    assert (refused.returncode, refused.stderr) == (0, "Permission Denied\n")
    assert "in outer\n" in refused.stdout


def test_one_call_of_a_map_and_the_ranks_of_a_call(local: Cluster, go: str) -> None:
    some = outer.map([go, go])
    for index in range(2):
        wait_for(f"{go}.{index}")
    one = debug(local.url, some[1].key)
    assert one.stdout.count("==> process ") == 1
    assert f"calls 0, 1 of {some.key} run: name one" in " ".join(debug(local.url, some.key).stderr.split())
    Path(go).touch()
    some.results(60)
    ranks = outer.with_options(ntasks=2)(f"{go}2")
    wait_for(f"{go}2.0")
    time.sleep(1)
    assert debug(local.url, ranks.key).stdout.count("in outer\n") == 2
    Path(f"{go}2").touch()
    assert ranks.result(60) == "ended"
