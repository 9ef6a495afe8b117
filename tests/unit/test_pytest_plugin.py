"""The pytest plug-in, in a run of pytest as a user has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """\
from slurm import JobOutOfMemory, JobPreempted, JobTimedOut, NodeFailed, Retry, task
import pytest


@task
def square(x):
    return x * x


@task(retry=Retry(times=1, mem="x2"), mem="1G")
def again(x):
    return x


ENDS = {"OUT_OF_MEMORY": JobOutOfMemory, "TIMEOUT": JobTimedOut, "PREEMPTED": JobPreempted, "NODE_FAIL": NodeFailed}


@pytest.mark.parametrize("state", ENDS)
def test_end(slurm_play, state):
    slurm_play(state, task="square", element=1)
    jobs = square.map(range(3))
    assert [type(error) for error in jobs.exceptions()] == [type(None), ENDS[state], type(None)]


def test_goes_on(slurm_inline, slurm_play):
    slurm_play("OUT_OF_MEMORY", task="again")
    assert again(3).result() == 3
    slurm_play("REQUEUE")
    assert square(3).result() == 9
    assert slurm_inline.queue.unmet() == []


def test_typo(slurm_play):
    slurm_play("TIMEOUT", task="squre", element=1)
    assert square(3).result() == 9


def test_processes(slurm_local, tmp_path):
    assert square(3).result() == 9
    assert (tmp_path / "slurm-jobs" / "jobs" / "square").is_dir()
"""
LOADED = "import slurm.testing.plugin, sys; print(*(name for name in sys.modules if name.startswith('slurm')))"


def test_fixtures_give_clusters_and_play_failures(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SLURMTASKS_", "PYTEST_"))}
    plugin = ["-p", "slurm.testing.plugin", "-p", "no:cacheprovider", "-p", "no:hydra_pytest"]
    argv = [sys.executable, "-m", "pytest", "-q", "-W", "error", *plugin, f"--rootdir={tmp_path}", "test_it.py"]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=250, check=False)
    assert "7 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "no attempt of an element met what the test has played: TIMEOUT (task='squre', element=1)" in done.stdout


def test_the_plugin_imports_nothing_of_the_library_but_itself() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"slurm", "slurm.testing", "slurm.testing.plugin"}


@pytest.mark.usefixtures("inline")
def test_pytest_finds_the_plugin(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.pluginmanager.has_plugin("slurm.testing.plugin")
