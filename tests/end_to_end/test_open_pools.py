"""An elastic pool without workers has not ended while a program may use it: it stays, and is shown and waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from served import client_of, serve
from slurm import Cluster, JobArray, task
from slurm.tracking.elastic_pools import OPEN_DAYS
from waiting import until

SOON = 300.0
"""The seconds that a call may take: on a busy machine, elements wait for free CPUs."""


@task
def square(x: int) -> int:
    return x * x


def command(*argv: str) -> list[str]:
    """`slurm` in another process, which knows of the pool only what its files say."""
    return [sys.executable, "-m", "slurm", *argv]


def output(*argv: str) -> str:
    return subprocess.run(command(*argv), capture_output=True, text=True, check=True).stdout


def why_kept(place: Cluster, key: str, *options: str) -> str | None:
    """Why `slurm gc` keeps a pool; empty if it does not, None if there is no such pool."""
    found: list[dict[str, Any]] = json.loads(output("gc", place.url, "--days", "0", "--json", *options))
    return next((job["kept"] for job in found if job["key"] == key), None)


def test_a_pool_without_workers_stays_until_its_client_closes_it(place: Cluster) -> None:
    with place.pool(workers=(0, 1), time="10:00", idle=1) as pool:
        directory = Path(place.place.store.directory(pool.key))
        assert why_kept(place, pool.key) == "a program may use this pool"  # it has had no elements
        assert square.on(pool)(3).result(SOON) == 9
        until(pool.jobs.done)
        assert why_kept(place, pool.key) == "a program may use this pool"
        assert why_kept(place, pool.key, "--state", "COMPLETED") == "a program may use this pool"
        assert square.on(pool)(4).result(SOON) == 16
        until(pool.jobs.done)
        listed = " ".join(output("jobs", place.url, "--task", "pool").split())
        assert "2 COMPLETED; no workers until a program that has joined the pool adds some" in listed
        shown = " ".join(output("show", pool.key, "--on", place.url).split())
        assert "no workers until a program that has joined the pool adds some" in shown
    until(pool.jobs.done)
    assert "no workers" not in output("jobs", place.url, "--task", "pool")
    assert why_kept(place, pool.key) == ""
    assert not directory.exists()


def test_a_pool_that_was_cancelled_is_removed_though_a_client_has_it(place: Cluster) -> None:
    with place.pool(workers=(0, 1), time="10:00", idle=1) as pool:
        assert square.on(pool)(3).result(SOON) == 9
        output("cancel", pool.key, "--on", place.url)
        until(pool.jobs.done)
        assert why_kept(place, pool.key, "--dry-run") == ""


def test_the_pool_of_a_killed_client_stays_for_some_days_and_can_be_joined(place: Cluster, root: Path) -> None:
    program = textwrap.dedent("""
        import os, sys
        from slurm import Cluster, task
        from slurm.pools.growth import Growth
        Growth.tick = lambda self: None  # the client is killed before it adds an element
        with Cluster(sys.argv[1], root=sys.argv[2]) as cluster:
            pool = cluster.pool(workers=(0, 1), time="10:00", idle=1)
            print(task(lambda x: -x).on(pool).map(range(700)).key, flush=True)
            os.kill(os.getpid(), 9)
    """)
    argv = [sys.executable, "-c", program, place.url.partition("://")[0], str(root)]
    killed = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    key = killed.stdout.strip().partition("/clients/")[0]
    directory = Path(place.place.store.directory(key))
    assert why_kept(place, key) == "a program may use this pool"
    then = time.time() - (OPEN_DAYS + 1) * 86400
    for file in (directory / "clients/0/calls", directory / "clients/0/out"):
        os.utime(file, (then, then))
    assert why_kept(place, key, "--dry-run") == ""  # nobody can tell that the client does not live
    with place.pool(key) as pool:
        assert why_kept(place, key) == "a program may use this pool"
        jobs = place.job(f"{key}/clients/0")
        assert isinstance(jobs, JobArray)
        assert square.on(pool)(3).result(SOON) == 9
        assert jobs.results(SOON) == [-x for x in range(700)]
    until(pool.jobs.done)
    assert why_kept(place, key) == "a program may use this pool"  # the killed client has not closed it
    output("cancel", key, "--on", place.url)
    assert why_kept(place, key) == ""
    assert not directory.exists()


def test_watch_and_wait_follow_elements_that_are_added_and_end_when_the_pool_is_closed(place: Cluster) -> None:
    with place.pool(workers=(0, 1), time="10:00", idle=1) as pool:
        watch, wait = (
            subprocess.Popen(command(*argv, pool.key, "--on", place.url), stdout=subprocess.PIPE, text=True)
            for argv in (["watch", "--json"], ["wait"])
        )
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline())["count"] == 0
        for element in range(2):
            assert square.on(pool)(3).result(SOON) == 9
            while (line := json.loads(watch.stdout.readline()))["states"] != {"COMPLETED": element + 1}:
                assert line["count"] == element + 1
        assert (watch.poll(), wait.poll()) == (None, None)
    rest, _ = watch.communicate(timeout=SOON)
    assert watch.returncode == 0, rest
    told, _ = wait.communicate(timeout=SOON)
    assert wait.returncode == 0
    assert told.startswith(f"{pool.key}: 2 COMPLETED")


def test_the_server_shows_a_pool_as_ended_only_when_it_is_closed(place: Cluster) -> None:
    with serve("--on", str(place.url)) as (process, lines):
        client = client_of(lines)

        def shown() -> tuple[dict[str, int], bool]:
            (job,) = client.get("/overview")["jobs"]
            return job["states"], job["ended"]

        with place.pool(workers=(0, 1), time="10:00", idle=1) as pool:
            for element in range(2):
                assert square.on(pool)(3).result(SOON) == 9
                until(lambda: shown() == ({"COMPLETED": element + 1}, False))  # noqa: B023 - called at once
        until(lambda: shown() == ({"COMPLETED": 2}, True))
        process.send_signal(signal.SIGTERM)
