"""Fences on every cluster: no result is taken from what they have ended, whether or not it still runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from slurm import Cluster, fence, task, workflow
from slurm.errors import JobCancelled
from slurm.protocol import OUTCOMES
from waiting import until

WAIT = 120.0


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


def test_what_a_workflow_has_submitted_is_fenced_too(cluster: Cluster, tmp_path: Path) -> None:
    job = steps(str(tmp_path))
    until((tmp_path / "began-0").exists)
    (child,) = job.children()
    assert fence(job, "moved") == [job]
    assert fence(child, "moved") == []
    (tmp_path / "go").touch()
    with pytest.raises(JobCancelled, match="moved"):
        job.result(WAIT)
