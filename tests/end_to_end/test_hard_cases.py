"""Demanding programs: each of these cases has once failed."""

from __future__ import annotations

import asyncio
import copy
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pytest

from slurm import FIRST_COMPLETED, Cluster, Job, Retry, task, wait
from slurm.errors import JobError
from testbed import SlurmTestbed
from waiting import remove, until


@task
def increment(x: int) -> int:
    return x + 1


@task
def append(items: list[int], x: int) -> list[int]:
    items.append(x)
    return items


@task
def nothing() -> list[int]:
    return []


def test_a_map_over_a_generator_that_submits_jobs(local: Cluster) -> None:
    assert increment.map(increment(x) for x in range(3)).results(60) == [2, 3, 4]


def test_a_callback_may_wait_for_another_job_or_end_its_thread(local: Cluster) -> None:
    results: list[int] = []
    slow = task(time.sleep)(0.5)
    first = task(time.sleep)(0.1)
    first.add_done_callback(lambda _: sys.exit(1))
    first.add_done_callback(lambda _: results.append(increment(1).result(60)))
    assert slow.result(60) is None
    until(lambda: results == [2])
    assert increment(2).result(60) == 3


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_can_wait_for_jobs_too(local: Cluster) -> None:
    task(time.sleep)(0.3).result(60)
    job = task(time.sleep)(1)
    watcher = threading.Thread(target=job.result)  # keeps the tracker running across the fork
    watcher.start()
    child = os.fork()
    if child == 0:
        os._exit(0 if job.result(30) is None else 1)
    watcher.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_calls_of_one_element_share_no_mutable_arguments(local: Cluster) -> None:
    upstream = nothing()
    apart = append.map([upstream] * 3, range(3)).results(60)
    together = append.map([upstream] * 3, range(3), chunk_size=3).results(60)
    assert apart == together == [[0], [1], [2]]


def test_a_removed_job_directory_affects_no_other_job(local: Cluster, short_grace: None) -> None:
    whole = task(time.sleep).with_options(cpus_per_task=4)
    running, removed = whole(1), whole(0)
    later = whole(0)
    remove(removed.directory)
    assert (running.result(60), later.result(60)) == (None, None)
    with pytest.raises((JobError, OSError)):
        removed.result(60)


def test_a_removed_directory_of_a_retried_job_affects_no_other_job(local: Cluster, short_grace: None) -> None:
    might_go_on = task(time.sleep).with_options(retry=Retry(times=1, on=ValueError))
    removed, killed = might_go_on(1), task(os.kill)(0, signal.SIGKILL)
    remove(removed.directory)
    assert isinstance(removed.exception(60), JobError)
    assert isinstance(killed.exception(60), JobError)


SPOILT = ("directory", "streams", "descriptors", "umask")


@task
def spoil(what: str, well: bool) -> str:
    if what == "directory":
        os.chdir(place := tempfile.mkdtemp())
        os.rmdir(place)
    elif what == "umask":
        os.umask(0)
    for stream in (sys.stdout, sys.stderr) if what == "streams" else ():
        stream.close()
    for descriptor in (1, 2) if what == "descriptors" else ():
        os.close(descriptor)
    if well:
        return what
    raise ValueError(what)


def test_a_result_is_saved_whatever_the_task_does_to_its_process(local: Cluster) -> None:
    well = spoil.map(SPOILT, [True] * len(SPOILT)).results(60)
    errors = spoil.map(SPOILT, [False] * len(SPOILT)).exceptions(60)
    assert well == [str(error) for error in errors] == list(SPOILT)
    assert {type(error) for error in errors} == {ValueError}


@task
def fork_and_return(well: bool) -> str:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return "the parent's"
    if well:
        return "the child's"
    raise ValueError("the child's")


@pytest.mark.parametrize("chunk", [1, 2])
def test_a_forked_child_of_a_task_saves_nothing(local: Cluster, chunk: int) -> None:
    assert fork_and_return.map([True, False], chunk_size=chunk).results(60) == ["the parent's"] * 2


@dataclass(slots=True)
class Slotted:
    value: object
    inner: object = None


class Named(NamedTuple):
    value: object


def test_objects_of_classes_with_slots_are_unchanged(local: Cluster) -> None:
    sent = [Slotted(1, Slotted(2)), Named(Slotted(3))]
    returned = task(copy.copy).map(sent).results(60)
    assert returned == sent
    assert [type(value) for value in returned] == [Slotted, Named]


def test_threads_can_share_one_cluster(local: Cluster, root: Path) -> None:
    shared = Cluster("local", root=root)
    entered = threading.Barrier(2)
    results: list[int] = []

    def work(x: int, hold: float) -> None:
        with shared:
            entered.wait(30)
            time.sleep(hold)
            results.append(increment(x).result(60))

    threads = [threading.Thread(target=work, args=(x, 0.2 * x)) for x in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [1, 2]


def test_waiting_for_the_first_returns_all_finished_jobs(local: Cluster) -> None:
    jobs: list[Job[int]] = [increment(x) for x in range(4)]
    wait(jobs, 60)
    assert wait(jobs, 60, FIRST_COMPLETED).done == set(jobs)


def test_waiting_for_an_empty_array_returns_at_once(local: Cluster) -> None:
    assert increment.after(increment.map([]))(1).result(60) == 2


@task
def at_work(seconds: float) -> tuple[float, float]:
    begin = time.time()
    time.sleep(seconds)
    return begin, time.time()


@pytest.mark.slurm
def test_max_concurrent_applies_to_all_blocks_together(
    root: Path, new_testbed: Callable[..., SlurmTestbed], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in new_testbed(settings={"MaxArraySize": "11"}).env.items():
        monkeypatch.setenv(name, value)
    with Cluster("slurm", root=root):
        spans = at_work.map([0.3] * 14, max_concurrent=2).results(90)
    moments = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    assert max(accumulate(change for _, change in moments)) <= 2


@pytest.mark.slurm
def test_a_submission_inherits_nothing_from_the_surrounding_job(
    root: Path, slurm_env: SlurmTestbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As inside a job of another shape; and with the user's own taste for squeue and sbatch.
    for name in ("SLURM_JOB_ID", "SLURM_CPU_BIND", "SLURM_NTASKS"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("SQUEUE_FORMAT", "%Z")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "soon")
    monkeypatch.setenv("SBATCH_WAIT", "1")
    with Cluster("slurm", root=root):
        seen = task(os.getenv).with_options(time="5").map(["SLURM_CPU_BIND", "SLURM_NTASKS", "SLURM_CONF"])
        slow = task(time.sleep).with_options(time="5")(30)
        until(slow.running)
        slow.cancel()
    assert seen.results(60) == [None, None, slurm_env.env["SLURM_CONF"]]


class Slow:
    """Takes its time to be pickled."""

    def __init__(self, begun: threading.Event) -> None:
        self.begun = begun

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        self.begun.set()
        time.sleep(0.5)
        return int, (1,)


@pytest.mark.usefixtures("ssh_env")
def test_a_forked_child_does_not_wait_for_threads_of_the_parent(root: Path) -> None:
    with Cluster("local+ssh://box", root=root) as cluster:
        assert increment(1).result(60) == 2
        place, begun = cluster.place, threading.Event()
        own = (place.locks["tracker"], place.probe._lock, place.queue._lock, place.registry._lock)
        locks = (*own, place.transport._opening)  # type: ignore[attr-defined]
        pickling = threading.Thread(target=increment.on(cluster), args=[Slow(begun)])
        with ThreadPoolExecutor(1) as other:
            pickling.start()
            begun.wait()
            for lock in locks:
                other.submit(lock.acquire).result()
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                os._exit(increment(5).result(50))
            for lock in locks:
                other.submit(lock.release).result()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6
        pickling.join()
        assert increment(2).result(60) == 3


def test_waiting_callback_delays_no_future(local: Cluster) -> None:
    gate, called = threading.Event(), threading.Event()

    def block(_: object) -> None:
        called.set()
        gate.wait(60)

    blocking = task(time.sleep)(0.1)
    blocking.add_done_callback(block)
    with local.executor() as executor:
        first = executor.submit(time.sleep, 0.1)
        first.add_done_callback(block)
        assert called.wait(60)
        assert first.result(60) is None
        assert executor.submit(increment.unwrapped, 1).result(60) == 2
        assert asyncio.run(_wrapped(executor.submit(increment.unwrapped, 2))) == 3
        assert not gate.is_set()
        gate.set()


async def _wrapped(future: Future[int]) -> int:
    return await asyncio.wait_for(asyncio.wrap_future(future), 60)
