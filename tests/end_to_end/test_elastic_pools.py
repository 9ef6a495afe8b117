"""Elastic pools: elements are added while calls wait, end when they are idle, and are never more than allowed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from slurm import Cluster, JobArray, JobState, task
from slurm.errors import PoolEnded, PoolError
from slurm.views.status import progress, statuses
from waiting import until

SOON = 300.0
"""The seconds that a call may take: on a busy machine, elements wait for free CPUs."""


@task
def square(x: int) -> int:
    return x * x


@task
def wait_until(x: int, directory: Path) -> int:
    """Record that the call has begun; return when the file exists."""
    (directory / f"begun-{x}").touch()
    while not (directory / "end").exists():
        time.sleep(0.02)
    return x


@task
def note(x: int, directory: Path) -> int:
    """Write a file each time the call is made."""
    (directory / f"{x}-{os.getpid()}-{time.monotonic_ns()}").touch()
    return -x


def begun(directory: Path) -> int:
    """How many calls of `wait_until` have begun."""
    return len(list(directory.glob("begun-*")))


def test_a_pool_grows_from_nothing_shrinks_and_grows_again(place: Cluster, tmp_path: Path) -> None:
    with place.pool(workers=(0, 2), time="10:00", idle=2) as pool:
        assert len(pool.jobs) == 0
        assert square.on(pool)(3).result(SOON) == 9
        assert len(pool.jobs) == 1
        jobs = wait_until.on(pool).map(range(4), directory=tmp_path)
        until(lambda: begun(tmp_path) == 2)
        assert len(pool.jobs) == 2
        assert jobs[0].status().state is JobState.RUNNING
        (tmp_path / "end").touch()
        assert jobs.results(SOON) == [0, 1, 2, 3]
        assert square.on(pool).map(range(5000)).results(SOON) == [x * x for x in range(5000)]
        until(pool.jobs.done)
        before = len(pool.jobs)
        assert sum(pool.jobs.results()) == 5005
        part = pool.jobs.part
        assert sum(event.done for event in progress(part, statuses([part])[0], ended=True).values()) == 5005
        assert square.on(pool)(4).result(SOON) == 16
        assert len(pool.jobs) == before + 1
        other = Cluster(str(place.url)).job(pool.key)
        assert isinstance(other, JobArray)
        assert len(other) == before + 1
    until(pool.jobs.done)
    with pytest.raises(PoolError, match="closed"):
        square.on(pool)(1)


def test_calls_of_a_killed_client_wait_until_another_joins(place: Cluster, root: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    program = textwrap.dedent("""
        import os, pathlib, sys
        from slurm import Cluster, task
        from slurm.pools.growth import Growth
        Growth.tick = lambda self: None  # the client is killed before it adds an element
        def note(x):
            pathlib.Path(sys.argv[3], str(x)).touch()
            return -x
        with Cluster(sys.argv[1], root=sys.argv[2]) as cluster:
            pool = cluster.pool(workers=(0, 2), time="10:00", idle=2)
            print(task(note).on(pool).map(range(700)).key, flush=True)
            os.kill(os.getpid(), 9)
    """)
    program = program.replace("sys.argv[3]", repr(str(notes)))
    argv = [sys.executable, "-c", program, place.url.partition("://")[0], str(root)]
    killed = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    key = killed.stdout.strip().partition("/clients/")[0]
    show = [sys.executable, "-m", "slurm", "show", key, "--on", place.url]
    shown = subprocess.run(show, capture_output=True, text=True, check=False)
    assert "no workers; 700 calls wait until a program that has joined the pool adds some" in " ".join(
        shown.stdout.split()
    ), shown.stderr
    with place.pool(key) as pool:
        jobs = place.job(f"{key}/clients/0")
        assert isinstance(jobs, JobArray)
        assert square.on(pool)(3).result(SOON) == 9
        assert jobs.results(SOON) == [-x for x in range(700)]
        assert len(list(notes.iterdir())) == 700
    until(pool.jobs.done)


def test_a_client_that_is_killed_as_the_pool_grows_leaves_no_call(place: Cluster, root: Path, tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import os, sys
        sys.path.insert(0, sys.argv[3])
        from pathlib import Path
        from end_to_end.test_elastic_pools import note, wait_until
        from slurm import Cluster
        with Cluster(sys.argv[1], root=sys.argv[2]) as cluster:
            pool = cluster.pool(workers=(1, 2), time="10:00", idle=2)
            wait_until.on(pool).map(range(2), directory=Path(sys.argv[4]))
            print(note.on(pool).map(range(1000), directory=Path(sys.argv[4])).key, flush=True)
            sys.stdin.read()
    """)
    tests = str(Path(__file__).parents[1])
    argv = [sys.executable, "-c", program, place.url.partition("://")[0], str(root), tests, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        key = client.stdout.readline().strip().partition("/clients/")[0]
        until(lambda: begun(tmp_path) >= 1)
        client.kill()
    with place.pool(key) as pool:
        jobs = place.job(f"{key}/clients/0")
        assert isinstance(jobs, JobArray)
        last = square.on(pool)(3)
        until(lambda: begun(tmp_path) == 2)  # there are two elements; either client may have added the second
        (tmp_path / "end").touch()
        assert last.result(SOON) == 9
        assert jobs.results(SOON) == [0, 1, *(-x for x in range(1000))]
        assert len(pool.jobs) == 2
    made = [int(path.name.partition("-")[0]) for path in tmp_path.iterdir() if path.name[0].isdecimal()]
    assert sorted(made) == list(range(1000))
    until(pool.jobs.done)


def test_a_pool_over_ssh_grows_and_shrinks(ssh_env: object, root: Path) -> None:
    with Cluster("local+ssh://box", root=root) as cluster:
        with cluster.pool(workers=(0, 2), time="10:00", idle=1) as pool:
            assert square.on(pool).map(range(500)).results(SOON) == [x * x for x in range(500)]
            until(pool.jobs.done)
            assert square.on(pool)(3).result(SOON) == 9
            assert len(pool.jobs) >= 2
        until(pool.jobs.done)


def test_two_clients_together_do_not_exceed_the_largest_number(place: Cluster, root: Path) -> None:
    program = textwrap.dedent("""
        import sys, time
        from slurm import Cluster, task
        def rest(x):
            time.sleep(0.5)
            return x
        with Cluster(sys.argv[1], root=sys.argv[2]) as cluster, cluster.pool(sys.argv[3]) as pool:
            for _ in range(3):
                assert task(rest).on(pool).map(range(6)).results() == list(range(6))
                time.sleep(2.0)  # elements end meanwhile
    """)
    with place.pool(workers=(0, 2), time="10:00", idle=1) as pool:
        argv = [sys.executable, "-c", program, place.url.partition("://")[0], str(root), pool.key]
        clients = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for client in clients:
            _, errors = client.communicate(timeout=SOON)
            assert client.returncode == 0, errors
        until(pool.jobs.done)
        outcomes = [job.status().outcome for job in pool.jobs]
        ran = [(each.started or 0.0, each.ended or 0.0) for each in outcomes if each]
        assert len(ran) == len(pool.jobs)
        assert max(sum(begin < at < end for begin, end in ran) for at, _ in ran) <= 1  # at most one other element runs


def test_calls_that_wait_end_if_the_pool_is_cancelled_or_cannot_grow(place: Cluster, tmp_path: Path) -> None:
    with place.pool(workers=(0, 1), time="10:00") as pool:
        running = wait_until.on(pool)(0, directory=tmp_path)
        until(lambda: begun(tmp_path) == 1)
        waiting = square.on(pool)(3)
        pool.jobs.cancel()
        with pytest.raises(PoolEnded, match="the pool was cancelled"):
            waiting.result(SOON)
        assert running.exception(SOON) is not None
        assert len(pool.jobs) == 1
        with pytest.raises(PoolError, match="the pool was cancelled"):
            square.on(pool)(4)


def test_calls_that_wait_when_the_pool_is_closed_are_made(place: Cluster) -> None:
    with place.pool(workers=(0, 1), time="10:00") as pool:
        jobs = square.on(pool).map(range(10))
    assert jobs.results(SOON) == [x * x for x in range(10)]
    until(pool.jobs.done)
    assert len(pool.jobs) == 1


def test_the_reason_why_elements_stay_in_the_queue_is_told(
    place: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    size: dict[str, Any] = {"exclusive": True} if place.url.startswith("slurm") else {"cpus_per_task": 2}
    with place.pool(workers=(3, 4), time="10:00", **size) as pool:
        calls = wait_until.on(pool).map(range(4), directory=tmp_path)
        until(lambda: "of its elements wait in the queue: " in caplog.text)
        assert calls[3].status().state is JobState.PENDING
        assert "of its elements wait in the queue: " in str(calls[3].status().reason)
        (tmp_path / "end").touch()
        assert calls.results(SOON) == [0, 1, 2, 3]


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm_env")
def test_calls_end_with_the_refusal_of_the_scheduler(root: Path) -> None:
    with Cluster("slurm", root=root) as cluster:
        pool = cluster.pool(workers=(0, 2), time="10:00", partition="nowhere")
        with pytest.raises(PoolEnded, match="partition"):
            square.on(pool)(3).result(SOON)
        assert len(pool.jobs) == 0
