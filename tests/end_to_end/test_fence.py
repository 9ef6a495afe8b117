"""Fences on every cluster: no result is taken from what they have ended, whether or not it still runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slurm import Cluster, JobArray, fence, task, workflow
from slurm.errors import JobCancelled
from slurm.protocol import OUTCOMES
from waiting import alive, until

WAIT = 120.0
KILLED = """
import os, signal, sys
from slurm import Cluster, fence
from slurm.storage.job_store import JobStore

_, url, death, *keys = sys.argv
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

steps = [die, JobStore.commit]

if death == "write":
    JobStore.commit = die
elif death == "read":
    JobStore.several_outcomes = die
elif death == "second write":
    JobStore.commit = lambda *arguments: steps.pop()(*arguments)
cluster = Cluster(url)
print(sorted(job.key for job in fence([cluster.job(key) for key in keys], "moved")))
"""


@task
def step(directory: str, x: int) -> int:
    Path(directory, f"began-{x}").touch()
    end = time.monotonic() + 100
    while not Path(directory, "go").exists() and time.monotonic() < end:
        time.sleep(0.05)
    Path(directory, f"ended-{x}").touch()
    return x


@workflow
def steps(directory: str) -> int:
    return step(directory, 0).result()


def test_a_fenced_job_runs_on_and_gives_no_result(cluster: Cluster, tmp_path: Path) -> None:
    jobs = step.with_options(max_concurrent=2).starmap([(str(tmp_path), x) for x in range(4)])
    until(lambda: (tmp_path / "began-0").exists() and (tmp_path / "began-1").exists())
    assert fence([jobs[0], jobs[2:]], "moved") == [jobs[0], jobs[2], jobs[3]]
    (tmp_path / "go").touch()
    assert jobs[1].result(WAIT) == 1
    for job in (jobs[0], jobs[2], jobs[3]):
        with pytest.raises(JobCancelled, match="moved"):
            job.result(WAIT)
    until((tmp_path / "ended-0").exists)
    until(lambda: not any(job.running() for job in jobs))
    assert not (tmp_path / "began-2").exists()
    assert not (tmp_path / "began-3").exists()
    assert fence(jobs, "again") == []
    assert {path.name for path in Path(jobs.directory, OUTCOMES).glob("*.json")} == {f"{e}.json" for e in range(4)}


@task
def endless(directory: str, x: int) -> None:
    Path(directory, f"pid-{x}").write_text(str(os.getpid()))
    time.sleep(1000)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_fenced_job_that_is_cancelled_ends(cluster: Cluster, tmp_path: Path, fresh: bool) -> None:
    jobs = endless.starmap([(str(tmp_path), x) for x in range(3)])
    paths = [tmp_path / f"pid-{x}" for x in range(3)]
    until(lambda: all(path.exists() and path.read_text() for path in paths))
    pids = [int(path.read_text()) for path in paths]
    assert fence(jobs, "moved") == list(jobs)
    array = Cluster(cluster.url).job(jobs.key) if fresh else jobs
    assert isinstance(array, JobArray)
    assert array[0].cancel()
    until(lambda: not alive(pids[0]))
    assert all(map(alive, pids[1:]))
    array.cancel()
    until(lambda: not any(map(alive, pids)))
    with pytest.raises(JobCancelled, match="moved"):
        jobs[0].result(WAIT)


def test_what_a_workflow_has_submitted_is_fenced_too(cluster: Cluster, tmp_path: Path) -> None:
    job = steps(str(tmp_path))
    until((tmp_path / "began-0").exists)
    (child,) = job.children()
    assert fence(job, "moved") == [job]
    assert fence(child, "moved") == []
    (tmp_path / "go").touch()
    with pytest.raises(JobCancelled, match="moved"):
        job.result(WAIT)


@pytest.mark.parametrize("death", ["write", "read", "second write"])
def test_a_fence_whose_client_is_killed_is_finished_by_the_next(cluster: Cluster, tmp_path: Path, death: str) -> None:
    quick = tmp_path / "quick"
    quick.mkdir()
    (quick / "go").touch()
    finished = step(str(quick), 0)
    assert finished.result(WAIT) == 0
    slow = step.with_options(max_concurrent=1)
    first, second = (slow.starmap([(str(tmp_path), x), (str(tmp_path), x + 1)]) for x in (0, 2))
    until(lambda: (tmp_path / "began-0").exists() and (tmp_path / "began-2").exists())
    argv = [sys.executable, "-c", KILLED, cluster.url, death, finished.key, first.key, second.key]
    killed = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "")
    ended = {"write": [*first, *second], "read": list(second), "second write": list(second)}[death]
    assert fence([finished, first, second], "again") == ended
    (tmp_path / "go").touch()
    for job in (*first, *second):
        with pytest.raises(JobCancelled, match="again" if job in ended else "moved"):
            job.result(WAIT)
    until(lambda: not any(job.running() for job in (*first, *second)))
    assert finished.result(WAIT) == 0
    assert sorted(path.name for path in tmp_path.glob("began-*")) == ["began-0", "began-2"]
