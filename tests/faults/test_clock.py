"""The clocks of the client and of the node are set back an hour while jobs run.

A fake: `time.time` is replaced in the two processes that compare times. libfaketime can't do it: its release in Debian
makes time.sleep() fail where it leaves the monotonic clock alone, as a real clock that is set back does.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed import SlurmTestbed

PROGRAM = """
import sys, time
from pathlib import Path
from slurm import Cluster, JobContext, Retry, task, wait
from slurm.views.status import took

def set_back():
    time.time = lambda real=time.time: real() - 3600

@task
def steps(ctx: JobContext) -> str:
    ctx.progress(1, 4)
    set_back()
    time.sleep(0.6)
    ctx.progress(2, 4)
    time.sleep(2)
    return "done"

@task(retry=Retry(3, on=OSError))
def second_time(ctx: JobContext) -> int:
    if ctx.attempt == 1:
        raise OSError("once")
    return ctx.attempt

@task
def pair(x: str, y: int) -> tuple:
    return x, y

with Cluster(sys.argv[1], root=sys.argv[2]) as cluster:
    job = steps()
    last = pair(job, second_time())
    set_back()
    print(job.result(60), last.result(90))
    print(2 <= took([job.status()]) < 60)
    print(Path(job.directory, "events/0.jsonl").read_text().count("progress"))
    print(pair.map("ab", range(2)).results(60))
    print(len(cluster.jobs()))
"""

EXPECTED = "done ('done', 2)\nTrue\n2\n[('a', 0), ('b', 1)]\n4\n"


def _run(url: str, root: Path) -> str:
    argv = [sys.executable, "-c", PROGRAM, url, str(root)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False, cwd=root.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_on_local_every_job_ends_and_no_duration_is_negative(tmp_path: Path) -> None:
    assert _run("local", tmp_path / "root") == EXPECTED


@pytest.mark.slurm
def test_on_slurm_every_job_ends_and_no_duration_is_negative(
    start: Callable[..., SlurmTestbed], tmp_path: Path
) -> None:
    start()
    assert _run("slurm", tmp_path / "root") == EXPECTED
