"""Callbacks: which hooks are called, where, how often, and in which order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from slurm import Callback, Cluster, task
from slurm.callbacks import CompletedEvent, RunBeginEvent, RunEndEvent
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
