"""Subscriptions of callbacks on the client, and the reader of progress."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from slurm import Callback, Cluster
from slurm.callbacks import CompleteEvent, ProgressEvent, StateEvent
from slurm.callbacks.progress_model import Bar
from slurm.notifications.dispatcher import hooks
from slurm.notifications.progress_reader import ProgressQuery, read_progress
from slurm.notifications.subscriptions import Subscriptions
from slurm.places.place import place_for
from slurm.protocol import EVENTS, FAILED, OUTCOMES, RUN, Block, Submitted
from slurm.protocol.outcomes import Outcome
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report
from slurm.submission.submission_state import SubmissionState
from slurm.transports.local import LocalTransport


class Counting(Callback):
    """Records its events."""

    def __init__(self) -> None:
        self.states: list[Mapping[str, int]] = []
        self.complete: list[tuple[int, str]] = []

    def on_state(self, event: StateEvent) -> None:
        self.states.append(event.states)

    def on_complete(self, event: CompleteEvent) -> None:
        self.complete.append((event.index, event.state))


class Raising(Callback):
    """Raises in its hook."""

    def on_complete(self, event: CompleteEvent) -> None:
        raise SystemExit(event.index)


def subscribed(root: Path, count: int) -> tuple[Subscriptions, SubmissionState]:
    """The subscriptions of a place, and a submission there with `count` elements, which no tracker follows."""
    place = place_for("local", root=root)
    watched = SubmissionState(
        "work/20260101T000000Z-00000000",
        count,
        Submitted(scheduler="local", blocks=(Block(id="7", first=0, count=count),)),
        mapped=True,
    )
    return place.subscriptions, watched


class Lines:
    """Counts the lines of Python that a thread runs."""

    count = 0

    def begin(self) -> None:
        sys.settrace(self._trace)

    def end(self) -> None:
        sys.settrace(None)

    def _trace(self, _frame: FrameType, _event: str, _argument: object) -> Any:
        self.count += 1
        return self._trace


def test_work_to_report_elements_grows_linearly_with_their_number(tmp_path: Path) -> None:
    def work(count: int) -> int:
        subscriptions, watched = subscribed(tmp_path / str(count), count)
        callback = Counting()
        subscriptions.attach(watched, [callback])
        assert watched.listener is not None
        lines = Lines()
        hooks.put(lines.begin)
        running = Report("7", None, JobState.RUNNING, "RUNNING", "n1", "")
        for first in range(0, count, count // 10):  # ten listings of a tracker
            watched.listener.reported(dict.fromkeys(range(first, count), running))
            watched.listener.finished(range(first, first + count // 10))
        hooks.put(lines.end)
        assert hooks.flush(60)
        assert len(callback.complete) == count
        assert len(set(callback.complete)) == count
        assert len(callback.states) == 11  # all run at the first listing; a tenth is finished at each
        assert callback.states[-1] == {"UNKNOWN": count}
        return lines.count

    assert work(2000) < 5 * work(500)  # quadratic work would be 16 times as much


def test_end_of_an_element_is_reported_once(tmp_path: Path) -> None:
    subscriptions, watched = subscribed(tmp_path, 3)
    watched.add_outcomes({0})
    outcome = Outcome(status=FAILED, phase=RUN)
    directory = Path(subscriptions.store.directory(watched.key), OUTCOMES)
    directory.mkdir(parents=True, mode=0o700)
    (directory / "0.json").write_bytes(outcome.dumps())
    callback = Counting()
    subscriptions.attach(watched, [callback])  # one is finished already
    assert watched.listener is not None
    watched.listener.finished([0, 1])
    watched.listener.finished({1})
    subscriptions.attach(watched, [callback])
    hooks.flush(60)
    assert callback.complete == [(0, "FAILED"), (1, "UNKNOWN")]
    assert callback.states == [{"FAILED": 1, "UNKNOWN": 2}, {"FAILED": 1, "UNKNOWN": 2}]


def test_failing_hook_is_logged_once_and_other_callbacks_are_called(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    subscriptions, watched = subscribed(tmp_path, 3)
    callback = Counting()
    subscriptions.attach(watched, [Raising(), callback])
    assert watched.listener is not None
    with caplog.at_level(logging.WARNING):
        watched.listener.finished(range(3))
        hooks.flush(60)
    assert len(callback.complete) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "Raising.on_complete failed; jobs are not affected, and further failures of it are not logged"
    ]


def test_progress_is_read_from_the_offset_of_the_last_reading(tmp_path: Path) -> None:
    directory, outcomes = tmp_path / "it's" / "events", tmp_path / "it's" / "outcomes"
    directory.mkdir(parents=True)
    outcomes.mkdir()

    def report(index: int, *lines: Any, end: str = "\n") -> None:
        with (directory / f"{index}.jsonl").open("a") as file:
            file.write("\n".join(json.dumps(line) for line in lines) + end)

    def reading(known: Mapping[int, int]) -> dict[int, tuple[list[Any], int]]:
        missing = ProgressQuery(str(tmp_path / "missing"), 1, {})
        _, reported = read_progress(LocalTransport(), [missing, ProgressQuery(str(directory), 1, known)])
        return {one.call: (list(one.lines), one.end) for one in reported}

    assert reading({}) == {}
    report(0, {"done": 1}, {"done": 2})
    report(10, {"done": 3}, end="")  # incomplete
    report(2, {"done": 4})
    (outcomes / "2.json").touch()  # finished before its first report was read
    assert reading({}) == {0: ([{"done": 1}, {"done": 2}], 24), 10: ([], 0)}
    report(10)
    report(10, {"done": 5})
    report(2, {"done": 6})
    (directory / "0.jsonl").write_text("x" * 100_000 + "\n" + json.dumps({"done": 7}) + "\n")
    assert reading({0: 24, 10: 0, 2: 12}) == {
        0: ([{"done": 7}], 100_013),
        10: ([{"done": 3}, {"done": 5}], 24),
        2: ([{"done": 6}], 24),
    }


class Progressing(Callback):
    """Records the progress of calls."""

    def __init__(self) -> None:
        self.progress: list[tuple[int, float, float | None]] = []

    def on_progress(self, event: ProgressEvent) -> None:
        self.progress.append((event.index, event.done, event.total))


def test_progress_is_read_for_a_callback_that_was_attached_later(tmp_path: Path) -> None:
    subscriptions, watched = subscribed(tmp_path, 2)
    directory = Path(subscriptions.store.directory(watched.key), EVENTS)
    directory.mkdir(parents=True, mode=0o700)
    subscriptions.attach(watched, [Counting()])
    callback = Progressing()
    subscriptions.attach(watched, [callback])
    reports = directory / "1.jsonl"

    def read_after(report: Mapping[str, object]) -> None:
        with reports.open("a") as file:
            file.write(json.dumps({"event": "progress", **report}) + "\n")
        hooks.put(subscriptions.read_progress)
        assert hooks.flush(60)

    read_after({"done": 3, "total": 4})
    assert callback.progress == [(1, 3, 4)]
    assert watched.listener is not None
    watched.listener.finished(range(2))
    assert hooks.flush(60)
    read_after({"done": 4, "total": 4})
    assert callback.progress == [(1, 3, 4)]  # nothing is read after the last element has finished


def test_work_of_a_progress_bar_grows_linearly_with_single_calls() -> None:
    def work(count: int) -> int:
        bar, lines = Bar("work", mapped=False), Lines()
        lines.begin()
        for state in ("PENDING", "RUNNING", "COMPLETED"):
            for number in range(count):
                bar.update(str(number), {state: 1})
                assert bar.line()
        lines.end()
        assert bar.states == {JobState.COMPLETED: count}
        return lines.count

    assert work(1000) < 5 * work(250)  # quadratic work would be 16 times as much


def test_class_instead_of_a_callback_object_is_rejected() -> None:
    with pytest.raises(TypeError, match=r"not <class .*Counting'>: Counting\(…\)\?"):
        Cluster(callbacks=[Counting])  # type: ignore[list-item]
    assert ProgressEvent.hook == "on_progress"
