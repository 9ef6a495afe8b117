"""SubmissionState, while several threads read and change it."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.protocol import FAILED, RUN, SUCCEEDED, Block, Refused, Submitted
from slurm.protocol.outcomes import Outcome
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report
from slurm.submission import submission_state
from slurm.submission.status import FinalStatus
from slurm.submission.submission_state import SubmissionState
from slurm.submission.timings import Timings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COUNT = 200


def state(count: int = COUNT, chunk: int = 1) -> SubmissionState:
    blocks = (Block(id="7", first=0, count=-(-count // chunk)),)
    submitted = Submitted(scheduler="slurm", blocks=blocks)
    return SubmissionState("work/20260101T000000Z-00000000", count, submitted, mapped=True, chunk=chunk)


def report(state: JobState) -> Report:
    return Report("7", None, state, state.value, "n1", "")


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads take turns after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_switching")
def test_each_callback_is_called_once_by_concurrent_threads() -> None:  # noqa: C901 - one function a thread
    watched, made = state(), Counter[int]()
    start = threading.Barrier(4)

    def call(callbacks: list[Callable[[], object]]) -> None:
        for callback in callbacks:
            callback()

    def wait() -> None:
        start.wait()
        for index in range(COUNT):
            callback = partial(made.update, [index])
            if not watched.add_callback(index, callback):
                callback()

    def outcomes() -> None:
        start.wait()
        for index in range(0, COUNT, 2):
            call(list(watched.add_outcomes([index]).callbacks))

    def endings() -> None:
        start.wait()
        for index in range(COUNT):
            call(list(watched.add_final({index: FinalStatus(JobState.LOST, None)}).callbacks))

    def reports() -> None:
        start.wait()
        for number in range(COUNT):
            watched.note_missing({index: report(JobState.RUNNING) for index in range(number)}, now=float(number))
            watched.overdue(float(number), Timings(explained_grace=1.0, unexplained_grace=1.0))

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work) for work in (wait, outcomes, endings, reports)]:
            done.result(60)
    assert made == dict.fromkeys(range(COUNT), 1)
    assert not watched.unfinished
    assert watched.missing == frozenset()


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, *JobState])), max_size=12))
def test_an_element_is_missing_until_a_report_shows_it_alive(
    said: list[tuple[int, JobState | None]],
) -> None:
    watched, since = state(6), dict[int, float]()
    for now, (element, found) in enumerate(said):
        reports = {e: report(JobState.RUNNING) for e in range(6)}
        del reports[element]
        if found is not None:
            reports[element] = report(found)
        watched.note_missing(reports, float(now))
        since = {element: since.get(element, now)} if found is None or found.final else {}
        assert watched.missing == frozenset(since)
        overdue, within = watched.overdue(float(now), Timings(explained_grace=2.0, unexplained_grace=2.0))
        assert set(overdue) == {e for e, begun in since.items() if now - begun > 2.0}
        assert overdue.keys() | within.keys() == watched.missing


@pytest.mark.parametrize(("chunk", "elements"), [(1, 10), (3, 4), (10, 1), (11, 1)])
def test_all_calls_of_an_element_end_with_it(chunk: int, elements: int) -> None:
    watched = state(10, chunk)
    assert watched.elements == elements
    watched.add_outcomes([0])
    assert [watched.finished(index) for index in range(10)] == [index < chunk for index in range(10)]
    assert watched.unfinished is (elements > 1)


def test_an_element_that_continues_in_another_job_is_in_its_block_only() -> None:
    watched = state(3)
    first, later = watched.block(0), Block(id="8", first=0, count=1, tasks=(1,), attempts=1)
    assert first is not None
    watched.add_reports(dict.fromkeys(range(3), report(JobState.NODE_FAIL)))
    watched.note_missing({}, 1.0)
    watched.move(1, later)
    assert watched.has_moved
    assert list(watched.in_block(first, range(3))) == [0, 2]
    assert list(watched.in_block(later, [1])) == [1]
    assert watched.missing == {0, 2}
    assert watched.report(1) is None
    assert [block.id for block in watched.blocks] == ["7", "8"]


def test_a_submission_is_wanted_while_a_thread_waits_for_it() -> None:
    watched = state()
    wanted = [watched.wanted]
    with watched.waiting(), watched.waiting():
        wanted.append(watched.wanted)
    assert [*wanted, watched.wanted] == [False, True, False]


def test_a_submission_is_wanted_until_its_last_callback_is_removed() -> None:
    watched, called = state(), list[int]()
    callbacks = [partial(called.append, number) for number in range(2)]
    assert [watched.add_callback(0, callback) for callback in callbacks] == [True, True]
    wanted = [watched.wanted]
    for callback in (*callbacks, callbacks[1]):
        watched.remove_callback(0, callback)
        wanted.append(watched.wanted)
    assert wanted == [True, True, False, False]
    assert not watched.add_outcomes([0]).callbacks


def test_elements_that_left_no_outcome_have_ended_too() -> None:
    watched = state(count=3)
    lost = FinalStatus(JobState.LOST, None)
    unfinished = [watched.unfinished]
    watched.add_final({0: lost, 1: lost})
    unfinished.append(watched.unfinished)
    watched.add_outcomes([1, 2])  # that of 1 came late
    assert [*unfinished, watched.unfinished] == [True, True, False]
    assert sorted(watched.finished_elements) == [0, 1, 2]


def test_resubmission_is_paused_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(submission_state, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    watched = state()
    assert not watched.resubmission_paused
    watched.pause_resubmission(2.0)
    paused = []
    for clock.seconds in (100.0, 101.9, 102.0, 103.0):
        paused.append(watched.resubmission_paused)
    assert paused == [True, True, False, False]


@pytest.mark.parametrize("continues", [False, True])
@pytest.mark.parametrize("refused", [False, True])
def test_only_what_was_not_refused_may_run_again(*, continues: bool, refused: bool) -> None:
    watched = SubmissionState("work/20260101T000000Z-00000000", 1, None, mapped=False, continues=continues)
    watched.learn_records(None, Refused(scheduler="slurm", words="no") if refused else None)
    assert watched.may_run_again is (continues and not refused)


def test_ids_that_become_known_count_more_than_a_refusal() -> None:
    watched = SubmissionState("work/20260101T000000Z-00000000", 1, None, mapped=False)
    watched.learn_records(None, Refused(scheduler="slurm", words="no"))
    known = state(1).submitted
    watched.learn_records(known, Refused(scheduler="slurm", words="no"))
    assert (watched.submitted, watched.refused) == (known, None)
    watched.learn_records(Submitted(scheduler="slurm", blocks=()))
    assert watched.submitted is known


@pytest.mark.parametrize("chunk", [1, 2])
def test_states_that_outcomes_tell_are_kept_unless_an_element_makes_several_calls(chunk: int) -> None:
    watched = state(4, chunk)
    watched.add_outcomes([0, 1])
    failed = Outcome(status=FAILED, phase=RUN, exit_code=1)
    watched.learn_outcomes({0: Outcome(status=SUCCEEDED, phase=RUN), 1: failed})
    watched.add_reports(dict.fromkeys([2, 3], report(JobState.RUNNING)))
    names = [watched.state_name(index) for index in range(4)]
    assert names == (["COMPLETED", "FAILED", "RUNNING", "RUNNING"] if chunk == 1 else ["ended"] * 4)


def test_what_is_known_of_the_end_is_the_name_of_the_state() -> None:
    watched = state(3)
    assert watched.state_name(0) == "not asked"
    watched.add_final({0: FinalStatus(JobState.TIMEOUT, None)})
    assert [watched.state_name(0), watched.status(0, None).state] == ["TIMEOUT", JobState.TIMEOUT]


def test_elements_that_no_block_holds_wait_for_room() -> None:
    blocks = (Block(id="7", first=0, count=2), Block(id="8", first=2, count=1))
    watched = SubmissionState("work/1", 6, Submitted(scheduler="slurm", blocks=blocks), mapped=True)
    assert watched.unqueued == range(3, 6)
    assert watched.wanted
    watched.queued([blocks[1], Block(id="9", first=3, count=2), Block(id="10", first=1, count=1, tasks=(1,))])
    assert watched.unqueued == range(5, 6)
    assert [block.id for block in watched.blocks] == ["7", "8", "9"]
    assert SubmissionState("work/1", 6, None, mapped=True).unqueued == range(6, 6)


def test_time_counts_from_when_something_was_first_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(submission_state, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    watched = state()
    found = [(watched.seconds_claimed("a"), watched.seconds_in_accounting(1, alone=True))]
    clock.seconds = 103.0
    found.append((watched.seconds_claimed("a"), watched.seconds_in_accounting(1, alone=True)))
    found.append((watched.seconds_claimed("b"), watched.seconds_in_accounting(1, alone=False)))
    clock.seconds = 104.0
    found.append((watched.seconds_claimed("b"), watched.seconds_in_accounting(1, alone=True)))
    assert found == [(0.0, 0.0), (3.0, 3.0), (0.0, 0.0), (1.0, 0.0)]


def test_missing_outcomes_have_their_whole_grace_after_a_restart_of_it() -> None:
    watched = state(2)
    watched.note_missing({}, 1.0)
    watched.restart_grace(9.0)
    timings = Timings(explained_grace=2.0, unexplained_grace=2.0)
    assert [len(some) for some in watched.overdue(11.0, timings)] == [0, 2]
    assert [len(some) for some in watched.overdue(11.1, timings)] == [2, 0]


@pytest.mark.parametrize(
    ("found", "expected", "grace"),
    [
        (None, JobState.LOST, 5.0),
        (JobState.COMPLETED, JobState.LOST, 5.0),
        (JobState.FAILED, JobState.FAILED, 5.0),
        (JobState.TIMEOUT, JobState.TIMEOUT, 2.0),
        (JobState.CANCELLED, JobState.CANCELLED, 2.0),
    ],
)
def test_an_end_that_the_scheduler_explains_is_waited_for_less(
    found: JobState | None, expected: JobState, grace: float
) -> None:
    watched = state(1)
    reports = {0: report(found)} if found else {}
    watched.add_reports(reports)
    watched.note_missing(reports, 0.0)
    timings = Timings(explained_grace=2.0, unexplained_grace=5.0)
    for now in (grace, grace + 0.1):
        overdue, within = watched.overdue(now, timings)
        assert {e: status.state for e, status in (overdue if now > grace else within).items()} == {0: expected}
