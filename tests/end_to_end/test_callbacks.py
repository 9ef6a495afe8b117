"""Callbacks: which hooks are called, where, how often, and in which order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from slurm import Callback, Cluster, current_job, task
from slurm.callbacks import (
    CompletedEvent,
    CompleteEvent,
    ProgressEvent,
    RunBeginEvent,
    RunEndEvent,
    StateEvent,
    SubmitEvent,
)
from waiting import until


class Recorder(Callback):
    """Writes down which hooks a node calls."""

    def __init__(self, path: Path, name: str = "") -> None:
        self.path, self.name = path, name

    def write(self, *words: object) -> None:
        with self.path.open("a") as file:
            print(*([self.name] if self.name else []), *words, file=file)

    def read(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def on_run_begin(self, event: RunBeginEvent) -> None:
        self.write("run_begin", event.index, event.attempt)

    def on_run_end(self, event: RunEndEvent) -> None:
        saved = os.path.exists(f"{event.directory}/outcomes/{event.index}.json")
        self.write("run_end", event.index, event.attempt, event.outcome.status, event.outcome.phase, saved)

    def on_completed(self, event: CompletedEvent) -> None:
        self.write("completed", event.index, event.attempt, event.outcome.status)


class Imported:
    """Part of a call: tells when a node unpickles it."""

    def __init__(self, recorder: Recorder, error: Exception | None = None) -> None:
        self.recorder, self.error = recorder, error

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.recorder.write("import")
        if self.error:
            raise self.error


class Saved:
    """A result that tells when it is pickled."""

    def __init__(self, recorder: Recorder, error: Exception | None = None) -> None:
        self.recorder, self.error = recorder, error

    def __reduce__(self) -> tuple[Any, ...]:
        if self.error:
            self.recorder.write("save")
            raise self.error
        return _saved, (self.recorder,)


class Watcher(Callback):
    """Notes what it is told on the client."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def on_submit(self, event: SubmitEvent) -> None:
        self.told.append(("submit", event.task, event.count, event.elements))

    def on_state(self, event: StateEvent) -> None:
        self.told.append(("state", dict(event.states)))

    def on_complete(self, event: CompleteEvent) -> None:
        self.told.append(("complete", event.index, event.calls, event.state))

    def on_progress(self, event: ProgressEvent) -> None:
        self.told.append(("progress", event.index, event.done, event.total, dict(event.metrics)))


def _saved(recorder: Recorder) -> None:
    recorder.write("unpickled")


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "hooks")


@task
def work(part: Imported, value: Any = None) -> Any:
    part.recorder.write("function")
    if isinstance(value, BaseException):
        raise value
    return value


def test_a_success_has_its_hooks_in_order_and_once(cluster: Cluster, recorder: Recorder) -> None:
    hooked = work.with_options(callbacks=[recorder])
    assert hooked(Imported(recorder), 7).result(60) == 7
    until(lambda: len(recorder.read()) >= 5)
    assert recorder.read() == [
        "run_begin 0 1",
        "import",
        "function",
        "run_end 0 1 succeeded save True",
        "completed 0 1 succeeded",
    ]


@task
def steps(gate: Path) -> None:
    for done in (1, 2):
        current_job().progress(done, 2, loss=1 / done)
    until(gate.exists)


def test_the_client_is_told_of_a_job_as_it_goes(cluster: Cluster, tmp_path: Path) -> None:
    watcher = Watcher()
    job = steps.with_options(callbacks=[watcher])(tmp_path / "gate")
    until(lambda: len(watcher.told) >= 4)
    (tmp_path / "gate").touch()
    job.result(60)
    until(lambda: len(watcher.told) >= 6)
    assert watcher.told == [
        ("submit", "steps", 1, 1),
        ("state", {"RUNNING": 1}),
        ("progress", 0, 1, 2, {"loss": 1.0}),
        ("progress", 0, 2, 2, {"loss": 0.5}),
        ("state", {"COMPLETED": 1}),
        ("complete", 0, 1, "COMPLETED"),
    ]
