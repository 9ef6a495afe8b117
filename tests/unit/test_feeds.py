"""What callbacks on the client are told: of many elements in little time, whatever they raise."""

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
from slurm.notifications.progress_reader import Question, look
from slurm.notifications.subscriptions import Subscriptions
from slurm.places.place import place_for
from slurm.protocol import FAILED, OUTCOMES, RUN, Block, Submitted
from slurm.protocol.outcomes import Outcome
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report
from slurm.submission.submission_state import SubmissionState
from slurm.transports.local import LocalTransport


class Counting(Callback):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.states: list[Mapping[str, int]] = []
        self.complete: list[tuple[int, str]] = []

    def on_state(self, event: StateEvent) -> None:
        self.states.append(event.states)

    def on_complete(self, event: CompleteEvent) -> None:
        self.complete.append((event.index, event.state))


class Raising(Callback):
    """Raises whatever it is told."""

    def on_complete(self, event: CompleteEvent) -> None:
        raise SystemExit(event.index)


def feeds(root: Path, count: int) -> tuple[Subscriptions, SubmissionState]:
    """The feeds of a place, and a submission of so many elements there that nobody follows."""
    place = place_for("local", root=root)
    watched = SubmissionState(
        "work/20260101T000000Z-00000000",
        count,
        Submitted(scheduler="local", blocks=(Block(id="7", first=0, count=count),)),
        mapped=True,
    )
    return place.subscriptions, watched


def test_many_elements_are_told_of_in_a_time_that_grows_with_their_number(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        ours, watched = feeds(tmp_path / str(count), count)
        callback = Counting()
        ours.attach(watched, [callback])
        assert watched.feed is not None
        begin = time.process_time()
        running = Report("7", None, JobState.RUNNING, "RUNNING", "n1", "")
        for first in range(0, count, count // 10):  # so many looks of a tracker
            watched.feed.reported(dict.fromkeys(range(first, count), running))
            watched.feed.ended(range(first, first + count // 10))
        assert hooks.flush(60)
        assert len(callback.complete) == count
        assert len(set(callback.complete)) == count
        assert len(callback.states) == 11  # all run at the first look; a tenth ends at each
        assert callback.states[-1] == {"UNKNOWN": count}
        return time.process_time() - begin

    seconds(1000)
    assert seconds(20_000) < 10 * max(0.1, seconds(5000))  # 16 times as long, were it quadratic


def test_an_element_is_told_of_once_however_often_its_end_is_seen(tmp_path: Path) -> None:
    ours, watched = feeds(tmp_path, 3)
    watched.add_outcomes({0})
    outcome = Outcome(status=FAILED, phase=RUN)
    directory = Path(ours.store.directory(watched.key), OUTCOMES)
    directory.mkdir(parents=True, mode=0o700)
    (directory / "0.json").write_bytes(outcome.dumps())
    callback = Counting()
    ours.attach(watched, [callback])  # one has ended before
    assert watched.feed is not None
    watched.feed.ended([0, 1])
    watched.feed.ended({1})
    ours.attach(watched, [callback])
    hooks.flush(60)
    assert callback.complete == [(0, "FAILED"), (1, "UNKNOWN")]
    assert callback.states == [{"FAILED": 1, "UNKNOWN": 2}, {"FAILED": 1, "UNKNOWN": 2}]


def test_a_hook_that_raises_is_warned_of_once_and_the_others_are_called(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, watched = feeds(tmp_path, 3)
    callback = Counting()
    ours.attach(watched, [Raising(), callback])
    assert watched.feed is not None
    with caplog.at_level(logging.WARNING):
        watched.feed.ended(range(3))
        hooks.flush(60)
    assert len(callback.complete) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "Raising.on_complete failed, which changes nothing else; it is told of this once"
    ]


def test_progress_is_read_from_where_the_last_look_ended(tmp_path: Path) -> None:
    directory, outcomes = tmp_path / "it's" / "events", tmp_path / "it's" / "outcomes"
    directory.mkdir(parents=True)
    outcomes.mkdir()

    def tell(index: int, *lines: Any, end: str = "\n") -> None:
        with (directory / f"{index}.jsonl").open("a") as file:
            file.write("\n".join(json.dumps(line) for line in lines) + end)

    def looked(known: Mapping[int, int]) -> dict[int, tuple[list[Any], int]]:
        nowhere = Question(str(tmp_path / "nowhere"), 1, {})
        _, told = look(LocalTransport(), [nowhere, Question(str(directory), 1, known)])
        return {one.call: (list(one.lines), one.end) for one in told}

    assert looked({}) == {}
    tell(0, {"done": 1}, {"done": 2})
    tell(10, {"done": 3}, end="")  # half written
    tell(2, {"done": 4})
    (outcomes / "2.json").touch()  # it has ended before anybody looked
    assert looked({}) == {0: ([{"done": 1}, {"done": 2}], 24), 10: ([], 0)}
    tell(10)
    tell(10, {"done": 5})
    tell(2, {"done": 6})
    (directory / "0.jsonl").write_text("x" * 100_000 + "\n" + json.dumps({"done": 7}) + "\n")
    assert looked({0: 24, 10: 0, 2: 12}) == {
        0: ([{"done": 7}], 100_013),
        10: ([{"done": 3}, {"done": 5}], 24),
        2: ([{"done": 6}], 24),
    }


def test_a_bar_for_many_single_calls_takes_a_time_that_grows_with_their_number() -> None:
    def seconds(count: int) -> float:
        bar, begin = Bar("work", mapped=False), time.process_time()
        for state in ("PENDING", "RUNNING", "COMPLETED"):
            for number in range(count):
                bar.note(str(number), {state: 1})
                assert bar.line()
        assert bar.states == {JobState.COMPLETED: count}
        return time.process_time() - begin

    assert seconds(2000) < 12 * max(0.05, seconds(500))  # 16 times as long, were it quadratic


def test_what_is_no_callback_is_refused() -> None:
    with pytest.raises(TypeError, match=r"not <class .*Counting'>: Counting\(…\)\?"):
        Cluster(callbacks=[Counting])  # type: ignore[list-item]
    assert ProgressEvent.hook == "on_progress"
