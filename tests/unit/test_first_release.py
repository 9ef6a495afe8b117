"""A root and handles that an earlier release wrote are read by this one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slurm.runner.argument_loader import ArgumentLoader

DATA = Path(__file__).parents[1] / "data" / "first_release"

PROGRAM = """
import pickle, pickletools, sys
from slurm import Cluster

def ending(job):
    error = job.exception(10)
    return f"{type(error).__name__}: {error}"[:60] if error else job.result(10)

with open(sys.argv[1], "rb") as file:
    handles = pickle.load(file)
for name in ("one", "sum", "failed", "retried", "exited", "workflow", "steps"):
    print(name, ending(handles[name]))
for name in ("map", "chunked"):
    print(name, handles[name].results(10))
cluster = Cluster("local", root="~/root")
print(len(cluster.jobs()), sorted({job.status().state.name for job in cluster.jobs() if hasattr(job, "status")}))
print(cluster.job(handles["one"].key).result(10), handles["steps"].logs().strip())
print(pickle.loads(pickle.dumps(handles["map"]))[2].result(10))
for name in ("one", "map"):
    words = [argument for _, argument, _ in pickletools.genops(pickle.dumps(handles[name]))]
    print([word for word in words if isinstance(word, str) and ("slurm" in word or "_job" in word)])
"""

EXPECTED = [
    "one 9",
    "sum 10",
    "failed ValueError: no root of -1",
    "retried then it works",
    "exited TaskExited: job exits/20261127T083302Z-2b4637b7 (id 7_0) end",
    "workflow 5",
    "steps 0",
    "map [0, 1, 4, 9]",
    "chunked [0, 1, 4, 9, 16, 25, 36]",
    "10 ['COMPLETED', 'FAILED']",
    "9 a line of the log",
    "4",
    "['slurm', 'open_job']",
    "['slurm', 'open_job']",
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the root in it. Git keeps no empty directories."""
    root = tmp_path / "home" / "root"
    shutil.copytree(DATA / "jobs", root / "jobs")
    for submission in (root / "jobs").glob("*/*"):
        for name in ("logs", "outcomes", "results"):
            (submission / name).mkdir(exist_ok=True)
    for path in (root.parent, *root.parent.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return tmp_path / "home"


def test_its_handles_give_what_they_gave(home: Path) -> None:
    env = {"HOME": str(home), "SLURMTASKS_LOCAL_DIR": str(home / "local"), "PATH": "/usr/bin:/bin"}
    argv = [sys.executable, "-c", PROGRAM, str(DATA / "handles.pkl")]
    done = subprocess.run(argv, env=env, cwd=home, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == EXPECTED, done.stderr


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the functions in it are code of Python 3.11")
def test_its_calls_are_loaded(home: Path) -> None:
    (directory,) = (home / "root" / "jobs" / "sums").iterdir()
    call = ArgumentLoader(str(directory), lambda reference: reference).load(0)
    assert (call.args, call.workflow, call.function.__name__) == ((3,), True, "sums")
    inner = call.function.__globals__["square"]
    assert (inner.options.get("time"), inner.unwrapped(7)) == ("00:05:00", 49)
