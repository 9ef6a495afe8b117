"""Subscriptions of callbacks on the client, and the reader of progress."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from slurm import Callback, Cluster
from slurm.callbacks import CompleteEvent, ProgressEvent, StateEvent
from slurm.callbacks.progress_model import Bar
from slurm.notifications.dispatcher import hooks
from slurm.notifications.progress_reader import ProgressQuery, read_progress
from slurm.notifications.subscriptions import Subscriptions
from slurm.places.place import place_for
from slurm.protocol import FAILED, OUTCOMES, RUN, Block, Submitted
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


def test_time_to_report_elements_grows_linearly_with_their_number(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        subscriptions, watched = subscribed(tmp_path / str(count), count)
        callback = Counting()
        subscriptions.attach(watched, [callback])
        assert watched.subscription is not None
        begin = time.process_time()
        running = Report("7", None, JobState.RUNNING, "RUNNING", "n1", "")
        for first in range(0, count, count // 10):  # ten listings of a tracker
            watched.subscription.reported(dict.fromkeys(range(first, count), running))
            watched.subscription.finished(range(first, first + count // 10))
        assert hooks.flush(60)
        assert len(callback.complete) == count
        assert len(set(callback.complete)) == count
        assert len(callback.states) == 11  # all run at the first listing; a tenth is finished at each
        assert callback.states[-1] == {"UNKNOWN": count}
        return time.process_time() - begin

    seconds(1000)
    assert seconds(20_000) < 10 * max(0.1, seconds(5000))  # quadratic time would be 16 times as long


def test_end_of_an_element_is_reported_once(tmp_path: Path) -> None:
    subscriptions, watched = subscribed(tmp_path, 3)
    watched.add_outcomes({0})
    outcome = Outcome(status=FAILED, phase=RUN)
    directory = Path(subscriptions.store.directory(watched.key), OUTCOMES)
    directory.mkdir(parents=True, mode=0o700)
    (directory / "0.json").write_bytes(outcome.dumps())
    callback = Counting()
    subscriptions.attach(watched, [callback])  # one is finished already
    assert watched.subscription is not None
    watched.subscription.finished([0, 1])
    watched.subscription.finished({1})
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
    assert watched.subscription is not None
    with caplog.at_level(logging.WARNING):
        watched.subscription.finished(range(3))
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


def test_time_of_a_progress_bar_grows_linearly_with_single_calls() -> None:
    def seconds(count: int) -> float:
        bar, begin = Bar("work", mapped=False), time.process_time()
        for state in ("PENDING", "RUNNING", "COMPLETED"):
            for number in range(count):
                bar.update(str(number), {state: 1})
                assert bar.line()
        assert bar.states == {JobState.COMPLETED: count}
        return time.process_time() - begin

    assert seconds(2000) < 12 * max(0.05, seconds(500))  # quadratic time would be 16 times as long


def test_class_instead_of_a_callback_object_is_rejected() -> None:
    with pytest.raises(TypeError, match=r"not <class .*Counting'>: Counting\(…\)\?"):
        Cluster(callbacks=[Counting])  # type: ignore[list-item]
    assert ProgressEvent.hook == "on_progress"
