"""Callbacks on the client for calls of a pool: the same hooks as on a cluster, each once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Callback, Cluster, Job, JobArray, current_job, task
from slurm.callbacks import (
    CompletedEvent,
    CompleteEvent,
    ProgressEvent,
    StateEvent,
    SubmitEvent,
    WebhookCallback,
)
from slurm.callbacks.progress_model import ProgressModel
from slurm.errors import NoSuchJob, PoolError
from slurm.notifications.dispatcher import flush_hooks
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = 300.0


class Watcher(Callback):
    """Keeps the events of calls of pools; those of their elements, which are jobs, are left out."""

    def __init__(self) -> None:
        self.submitted: list[SubmitEvent] = []
        self.states: list[StateEvent] = []
        self.completed: list[CompleteEvent] = []
        self.progress: list[ProgressEvent] = []
        self.bars = ProgressModel()

    def on_submit(self, event: SubmitEvent) -> None:
        if event.task != "pool":
            self.submitted.append(event)
            self.bars.submitted(event)

    def on_state(self, event: StateEvent) -> None:
        if event.task != "pool":
            self.states.append(event)
            self.bars.changed(event)

    def on_complete(self, event: CompleteEvent) -> None:
        if event.task != "pool":
            self.completed.append(event)
            self.bars.completed(event)

    def on_progress(self, event: ProgressEvent) -> None:
        if event.task != "pool":
            self.progress.append(event)
            self.bars.progressed(event)

    def ends(self, key: str) -> list[tuple[int, str]]:
        """The calls of a submission that have ended, and their states."""
        return sorted((event.index, event.state) for event in self.completed if event.key == key)


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture(params=["local", "local+ssh://box", pytest.param("slurm", marks=pytest.mark.slurm)])
def watched(request: pytest.FixtureRequest, root: Path, watcher: Watcher) -> Iterator[Cluster]:
    """A cluster with a callback."""
    for name in ("ssh_env",) if "ssh" in request.param else ("slurm_env",) if request.param == "slurm" else ():
        request.getfixturevalue(name)
    with Cluster(request.param, root=root, callbacks=[watcher]) as cluster:
        yield cluster


@task
def invert(x: int) -> float:
    return 1 / x


@task
def die(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


@task
def die_first() -> int:
    if current_job().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return current_job().attempt


def test_each_call_and_map_is_reported_once(watched: Cluster, watcher: Watcher) -> None:
    with watched.pool(workers=2, time="10:00") as pool:
        job, array, empty = invert.on(pool)(4), invert.on(pool).map([1, 0, 2, 4]), invert.on(pool).map([])
        many, dead, again = invert.on(pool).map(range(1, 3001)), die.on(pool)(1), die_first.with_options(retry=1)
        assert again.on(pool)().result(SOON) == 2
        with pool.executor() as executor:
            assert executor.submit(pow, 2, 5).result(SOON) == 32
        for each in (job, *array, *many, dead):
            each.exception(SOON)
        assert empty.results(SOON) == []
    flush_hooks()
    first, second, third, fourth, fifth, sixth = watcher.submitted
    assert [(event.task, event.count, event.elements, event.mapped) for event in watcher.submitted] == [
        ("invert", 1, 1, False),
        ("invert", 4, 4, True),
        ("invert", 3000, 3000, True),
        ("die", 1, 1, False),
        ("die_first", 1, 1, False),
        (sixth.task, 1, 1, False),
    ]
    assert {event.job_ids for event in watcher.submitted} == {(str(pool.jobs[0].job_id).partition("_")[0],)}
    assert first.options["time"] == "10:00"
    assert '"times": 1' in fifth.options["retry"]
    assert watcher.ends(first.key) == [(0, "COMPLETED")]
    assert watcher.ends(second.key) == [(0, "COMPLETED"), (1, "FAILED"), (2, "COMPLETED"), (3, "COMPLETED")]
    assert watcher.ends(third.key) == [(index, "COMPLETED") for index in range(3000)]
    assert watcher.ends(fourth.key) == [(0, "FAILED")]
    assert watcher.ends(fifth.key) == [(0, "COMPLETED")]
    assert watcher.ends(sixth.key) == [(0, "COMPLETED")]
    assert [event.error for event in watcher.completed if event.key == second.key and event.error] == [
        "ZeroDivisionError: division by zero"
    ]
    assert {event.outcome and event.outcome.attempt for event in watcher.completed if event.key == fifth.key} == {2}
    final = {event.key: event.states for event in watcher.states if event.final}
    assert final[second.key] == {"COMPLETED": 3, "FAILED": 1}
    assert final[third.key] == {"COMPLETED": 3000}
    assert Counter(event.final for event in watcher.states)[True] == 6
    bars = {(bar.name, bar.mapped, bar.total): (bar.count(), bar.finished_at is not None) for bar in watcher.bars.bars}
    assert bars["invert", True, 3000] == ("3000/3000", True)
    assert bars["invert", True, 4] == ("4/4", True)
    assert watcher.bars.finished
    one, some = watched.job(first.key), watched.job(second.key)
    assert isinstance(one, Job)
    assert one.result() == 0.25
    assert isinstance(some, JobArray)
    assert (some[0].result(), len(some)) == (1.0, 4)
    fails = watched.job(f"{second.key}[1]")
    assert isinstance(fails, Job)
    assert isinstance(fails.exception(SOON), ZeroDivisionError)
    with pytest.raises(NoSuchJob):
        watched.job(f"{second.key}[4]")


@task
def steps(directory: Path) -> None:
    for done in (1, 2):
        current_job().progress(done, 3, loss=1 / done)
    (directory / "begun").touch()
    while not (directory / "end").exists():
        time.sleep(0.02)
    current_job().progress(3, 3, loss=0.25)


def test_progress_of_a_call_that_takes_long_is_reported(watched: Cluster, watcher: Watcher, tmp_path: Path) -> None:
    with watched.pool(workers=1, time="10:00") as pool:
        invert.on(pool).map([1, 2]).results(SOON)
        job = steps.on(pool)(tmp_path)
        until(lambda: len(watcher.progress) >= 1 and any(event.states == {"RUNNING": 1} for event in watcher.states))
        waiting = [steps.on(pool)(tmp_path), invert.on(pool)(1)]
        waiting[1].cancel()
        (tmp_path / "end").touch()
        job.result(SOON)
        waiting[0].result(SOON)
    flush_hooks()
    key = watcher.submitted[1].key
    mine = [event for event in watcher.progress if event.key == key]
    assert (mine[-1].index, mine[-1].done, mine[-1].total, mine[-1].metrics) == (0, 3, 3, {"loss": 0.25})
    assert [event.done for event in mine] == sorted({event.done for event in mine})
    states = [dict(event.states) for event in watcher.states if event.key == key]
    assert states == [{"RUNNING": 1}, {"COMPLETED": 1}]
    assert watcher.ends(watcher.submitted[3].key) == [(0, "CANCELLED")]


class OnNode(Callback):
    """Has a hook of the node."""

    def on_completed(self, event: CompletedEvent) -> None:
        raise AssertionError(event)


def test_callbacks_of_tasks_count_but_for_hooks_of_the_node(root: Path, watcher: Watcher) -> None:
    with Cluster("local", root=root) as cluster, cluster.pool(workers=1, time="10:00") as pool:
        assert invert.on(pool)(1).result(SOON) == 1
        assert pool._calls.state.listener is None
        own = invert.with_options(callbacks=[watcher, watcher])
        assert own.on(pool).map([1, 2]).results(SOON) == [1, 0.5]
        assert invert.on(pool)(1).result(SOON) == 1
        for callback in (OnNode(), WebhookCallback("https://$HOST/")):
            with pytest.raises(PoolError, match="hooks of the node"):
                invert.with_options(callbacks=[callback]).on(pool)(1)
    flush_hooks()
    assert [(event.task, event.count) for event in watcher.submitted] == [("invert", 2)]
    assert watcher.ends(watcher.submitted[0].key) == [(0, "COMPLETED"), (1, "COMPLETED")]


class ElementWatcher(Callback):
    """Keeps the events of the elements of pools."""

    def __init__(self) -> None:
        self.submitted: list[SubmitEvent] = []
        self.states: list[StateEvent] = []
        self.completed: list[CompleteEvent] = []
        self.bars = ProgressModel()

    def on_submit(self, event: SubmitEvent) -> None:
        if event.task == "pool":
            self.submitted.append(event)
            self.bars.submitted(event)

    def on_state(self, event: StateEvent) -> None:
        if event.task == "pool":
            self.states.append(event)
            self.bars.changed(event)

    def on_complete(self, event: CompleteEvent) -> None:
        if event.task == "pool":
            self.completed.append(event)
            self.bars.completed(event)


@pytest.mark.parametrize("least", [0, 1])
def test_elements_that_an_elastic_pool_adds_are_reported(place: Cluster, root: Path, least: int) -> None:
    watcher, other = ElementWatcher(), ElementWatcher()
    url = str(place.url)
    with (
        Cluster(url, callbacks=[watcher]) as cluster,
        cluster.pool(workers=(least, 2), time="10:00", idle=1) as pool,
    ):
        seen = Cluster(url, python=sys.executable, callbacks=[other]).job(pool.key)  # which learns all from the files
        for _ in range(2):
            assert invert.on(pool)(2).result(SOON) == 0.5
            until(pool.jobs.done)
        assert not any(event.final for event in (*watcher.states, *other.states))
    until(lambda: all(each.states and each.states[-1].final for each in (watcher, other)))
    (submitted,) = watcher.submitted
    assert (submitted.count, len(submitted.job_ids)) == (least, least)
    assert other.submitted == []
    assert seen.key == submitted.key == pool.key
    count = len(pool.jobs)
    assert count >= 2
    for each in (watcher, other):
        assert sorted((event.index, event.state) for event in each.completed) == [
            (i, "COMPLETED") for i in range(count)
        ]
        assert each.states[-1].states == {"COMPLETED": count}
        assert sum(event.final for event in each.states) == 1
        first = {index: state for event in reversed(each.states) for index, state in event.changed.items()}
        assert {first[index] for index in range(least, count)} == {"PENDING"}
        assert each.bars.finished
        assert each.bars.bars[0].count() == f"{count}/{count}"
