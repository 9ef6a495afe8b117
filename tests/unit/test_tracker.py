"""Tracker: no future hangs, whatever the scheduler reports."""

from __future__ import annotations

import logging
import threading
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from slurm.errors import SchedulerError, SchedulerNotFound, TransportError
from slurm.protocol import Block, Edge, Submitted
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report
from slurm.schedulers.job_control import Answers
from slurm.storage.job_store import JobStore
from slurm.submission.registry import SubmissionRegistry
from slurm.submission.submission_state import SubmissionState
from slurm.submission.timings import Timings
from slurm.transports.base import pauses
from slurm.transports.local import LocalTransport
from unit.job_directories import KEY, asked, follow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


OTHER = "other/20260101T000000Z-00000001"


class Cluster:
    """One job. The scheduler's first answer fails; after that, the job's outcome exists."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = threading.Event()

    def listing(self, keys: Sequence[str]) -> Mapping[str, frozenset[int]]:
        return dict.fromkeys(keys, frozenset({0} if self.asked.is_set() else ()))

    def query(self, ids: Sequence[str]) -> Answers:
        self.asked.set()
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        SchedulerError("slurm doesn't tell"),
        TransportError("the place can't be reached"),
        SchedulerNotFound("squeue: command not found"),
        ValueError("invalid literal for int() with base 10: '...'"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failed_query_delays_no_result(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    cluster = Cluster(error)
    tracker, watched = follow(cluster.listing, cluster.query)
    with caplog.at_level(logging.ERROR):
        assert tracker.wait(watched, [0], timeout=30)


def test_a_slow_scheduler_delays_no_result() -> None:
    """Answers are read in the thread that queries, so this covers huge answers, too."""
    asked_, answer = threading.Event(), threading.Event()

    def query(ids: Sequence[str]) -> Answers:
        asked_.set()
        assert answer.wait(60)
        return Answers([], set(ids), None)

    tracker, watched = follow(lambda keys: dict.fromkeys(keys, frozenset({0} if asked_.is_set() else ())), query)
    try:
        assert tracker.wait(watched, [0], timeout=30)
        assert not answer.is_set()
    finally:
        answer.set()


def test_no_element_is_finalized_while_outcomes_cannot_be_listed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = iter(range(60))

    def listing(keys: Sequence[str]) -> Mapping[str, frozenset[int] | TransportError]:
        failing = next(looks, None) is not None
        return dict.fromkeys(keys, TransportError("outcomes: Input/output error") if failing else frozenset({0}))

    timings = Timings(unexplained_grace=0.02)
    tracker, watched = follow(listing, lambda _: Answers([], set(), None), timings)  # the scheduler forgot the job
    assert tracker.wait(watched, [0], timeout=60)
    assert (watched.has_outcome(0), watched.final_status(0), watched.trouble) == (True, None, None)
    assert caplog.text.count("outcomes: Input/output error; trying again") == 1


def test_a_failed_listing_is_the_trouble_of_its_submission_only() -> None:
    def listing(keys: Sequence[str]) -> Mapping[str, frozenset[int] | TransportError]:
        return {key: frozenset({0}) if key == other.key else TransportError("Input/output error") for key in keys}

    tracker, watched = follow(listing, lambda _: Answers([], set(), None))
    other = SubmissionState("other/20260101T000000Z-00000001", 1, watched.submitted, mapped=False)
    tracker.list_outcomes([watched, other])
    assert other.finished(0)
    assert not watched.finished(0)
    status = watched.status(0, None)
    assert (status.state, status.problem) == (JobState.UNKNOWN, "Input/output error")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([None], None),
        ([JobState.RUNNING, JobState.OUT_OF_MEMORY], JobState.OUT_OF_MEMORY),
        ([JobState.RUNNING, JobState.COMPLETING, JobState.CANCELLED], JobState.CANCELLED),
        ([JobState.FAILED], None),
        ([JobState.COMPLETED], None),
    ],
    ids=str,
)
def test_a_signal_is_explained_by_the_scheduler_unless_it_has_forgotten_the_job(
    answers: Sequence[JobState | None], expected: JobState | None
) -> None:
    left = list(answers)

    def query(ids: Sequence[str]) -> Answers:
        state = left.pop(0) if len(left) > 1 else left[0]
        return Answers([Report("7", None, state, state.value, "n1", "")] if state else [], set(), None)

    tracker, watched = follow(lambda keys: dict.fromkeys(keys, frozenset[int]()), query)
    found = tracker.explain(watched, 0)
    assert (found and found.state) == expected
    assert len(left) == 1


def test_an_explanation_is_waited_for_only_so_long() -> None:
    asked: list[Sequence[str]] = []

    def query(ids: Sequence[str]) -> Answers:
        asked.append(ids)
        return Answers([Report("7", None, JobState.RUNNING, "RUNNING", "n1", "")], set(), None)

    tracker, watched = follow(lambda keys: dict.fromkeys(keys, frozenset[int]()), query, Timings(verdict=0.3))
    assert tracker.explain(watched, 0) is None
    assert len(asked) <= 3, "there is a pause between two queries"


@pytest.mark.parametrize("room", [False, True], ids=["dependent", "room"])
def test_the_end_of_an_upstream_or_of_what_filled_the_queue_is_a_reason_to_query_soon(*, room: bool) -> None:
    """The first query fails, and without such a reason the next one would be in years."""
    registry = SubmissionRegistry(JobStore(LocalTransport(), "/"))
    asked_: list[Sequence[str]] = []

    def query(ids: Sequence[str]) -> Answers:
        asked_.append(ids)
        if len(asked_) == 1:
            raise SchedulerError("slurm doesn't tell")
        state = JobState.CANCELLED
        return Answers([Report("8", None, state, state.value, "", "", dependency_failed=True)], set(), None)

    def listing(keys: Sequence[str]) -> Mapping[str, frozenset[int]]:
        failed = asked_ and not any(thread.name == "slurm-poll" for thread in threading.enumerate())
        ends = {KEY: frozenset({0} if failed or len(asked_) > 1 else ())}
        if room and len(asked_) > 1:
            ends[OTHER] = frozenset({0, 1})
        elif room:
            ends[OTHER] = ends[KEY]
        return {key: ends.get(key, frozenset()) for key in keys}

    timings = Timings(explained_grace=0.02)
    tracker, _ = follow(listing, query, timings, patience=(0.05, 1e9), registry=registry)
    blocks = (Block(id="8", first=0, count=1),)
    edges = () if room else (Edge(key=KEY),)
    waiting = registry.add(asked(OTHER, 1 + room, dependencies=edges), Submitted(scheduler="slurm", blocks=blocks))
    assert tracker.wait(waiting, range(1 + room), timeout=30)
    assert len(asked_) > 1


@pytest.mark.parametrize("fails", ["query", "listing"])
def test_after_a_failure_the_scheduler_is_left_alone_for_its_longest_pause(fails: str) -> None:
    asked_: list[Sequence[str]] = []
    listed: list[Sequence[str]] = []

    def query(ids: Sequence[str]) -> Answers:
        asked_.append(ids)
        raise SchedulerError("slurm doesn't tell")

    def listing(keys: Sequence[str]) -> Mapping[str, frozenset[int]]:
        if asked_ or fails == "listing":
            listed.append(keys)
        if fails == "listing" and len(listed) == 1:
            raise ValueError(keys)
        return dict.fromkeys(keys, frozenset({0} if len(listed) > 5 else ()))

    tracker, watched = follow(listing, query, patience=(0.01, 1e9))
    assert tracker.wait(watched, [0], timeout=30)
    assert len(asked_) == (1 if fails == "query" else 0)


def test_pauses_grow_vary_and_are_never_longer_than_the_longest() -> None:
    several = [list(islice(pauses(2.0, 30.0, factor=1.5), 20)) for _ in range(30)]
    for index, some in enumerate(zip(*several, strict=True)):
        middle = min(2.0 * 1.5**index, 30.0)
        assert all(0.79 * middle <= pause <= min(1.21 * middle, 30.0) for pause in some)
        assert len(set(some)) > 1
