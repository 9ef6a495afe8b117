"""StatusPoller: queries to a scheduler and to its accounting, and the states that follow from the answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from slurm.errors import SchedulerError
from slurm.protocol import Block, Origin, Submitted
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report
from slurm.schedulers.job_control import Answers
from slurm.storage.job_store import JobStore
from slurm.submission import submission_state
from slurm.submission.origins import Here
from slurm.submission.registry import SubmissionRegistry
from slurm.submission.status import FinalStatus
from slurm.submission.timings import Timings
from slurm.tracking.exceptions import Facts, of_status
from slurm.tracking.status_poller import StatusPoller
from slurm.tracking.tracker import Tracker
from slurm.transports.local import LocalTransport
from unit.job_directories import KEY, asked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.submission.submission_state import SubmissionState

OTHER = "work/20260101T000000Z-11111111"
BOX = Origin(cluster="aaaa", host="box", boot="1")


def reported(id_: str, state: JobState, key: str = KEY, tasks: Sequence[int] | None = None) -> Report:
    return Report(id_, tasks, state, state.value, "n1", "", comment=key)


class Place:
    """A scheduler whose answers a test sets."""

    def __init__(self, *answers: Report, remembered: Iterable[Report] = (), silent: Iterable[str] = ()) -> None:
        self.answers, self.remembered, self.silent = answers, tuple(remembered), set(silent)
        self.here = Here("slurm", Origin(cluster="here"))
        self.completed: list[str] = []
        self.asked: list[str] = []
        self.registry = SubmissionRegistry(JobStore(LocalTransport(), "/"))
        self.tracker = Tracker(
            self.registry,
            listing=lambda keys: dict.fromkeys(keys, frozenset()),
            poller=StatusPoller(
                query=self._query,
                history=self._history,
                complete=self._complete,
                here=lambda: self.here,
                runaway=Timings().runaway,
            ),
            finalize=lambda _, statuses, __: statuses,
            poll_progress=lambda: None,
            pace=0.01,
            patience=(0.05, 0.1),
            timings=Timings(),
        )

    def watch(self, *blocks: Block, key: str = KEY, count: int = 1, scheduler: str = "slurm") -> SubmissionState:
        return self.registry.add(asked(key, count), Submitted(scheduler=scheduler, blocks=blocks))

    def states(self, watched: SubmissionState) -> list[JobState]:
        self.tracker.query([watched])
        return [watched.status(index, None).state for index in range(watched.count)]

    def _query(self, ids: Sequence[str]) -> Answers:
        self.asked += ids
        silent = self.silent & set(ids)
        found = [report for report in self.answers if report.id in ids and report.id not in silent]
        return Answers(found, silent, "slurm doesn't tell: it is down" if silent else None)

    def _history(self, ids: Sequence[str]) -> Sequence[Report]:
        return [report for report in self.remembered if report.id in ids]

    def _complete(self, several: Sequence[SubmissionState]) -> None:
        self.completed += [watched.key for watched in several]


def block(id_: str = "7", origin: Origin | None = None, count: int = 1) -> Block:
    return Block(id=id_, first=0, count=count, origin=origin)


def test_a_reused_job_id_is_another_job() -> None:
    place = Place(reported("7", JobState.RUNNING, OTHER))
    old, new = place.watch(block()), place.watch(block(), key=OTHER)
    place.tracker.query([old, new])
    assert (old.report(0), list(old.missing)) == (None, [0])
    assert new.status(0, None).state is JobState.RUNNING


def test_accounting_of_another_job_with_the_same_id_is_ignored() -> None:
    place = Place(remembered=[reported("7", JobState.FAILED, OTHER)])
    assert place.states(place.watch(block())) == [JobState.UNKNOWN]


def test_jobs_are_not_lost_while_a_scheduler_does_not_answer() -> None:
    place = Place(reported("7", JobState.RUNNING), silent=["8"])
    here, there = place.watch(block("7")), place.watch(block("8"), key=OTHER)
    with pytest.raises(Exception, match="it is down"):
        place.tracker.query([here, there])
    assert here.status(0, None).state is JobState.RUNNING
    assert (there.status(0, None).state, there.status(0, None).reason) == (JobState.UNKNOWN, "it is down")
    assert not there.missing


def test_a_partial_query_reports_the_clusters_that_answer() -> None:
    place = Place(reported("7", JobState.RUNNING), silent=["8"])
    here, there = place.watch(block("7")), place.watch(block("8"), key=OTHER)
    place.tracker.query([here, there], partly=True)
    assert (here.status(0, None).state, there.status(0, None).state) == (JobState.RUNNING, JobState.UNKNOWN)
    with pytest.raises(SchedulerError, match="it is down"):
        place.tracker.query([there], partly=True)


def test_accounting_counts_while_a_scheduler_does_not_answer() -> None:
    remembered = [reported("7", JobState.RUNNING, tasks=[0]), reported("7", JobState.CANCELLED, tasks=[1])]
    place = Place(silent=["7"], remembered=remembered)
    watched = place.watch(block(count=2), count=2)
    assert place.states(watched) == [JobState.RUNNING, JobState.CANCELLED]
    assert list(watched.missing) == [1]


def test_a_job_that_only_accounting_reports_as_alive_is_lost_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(submission_state, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    place = Place(remembered=[reported("7", JobState.RUNNING)])
    watched = place.watch(block())
    for clock.seconds in (1000.0, 1600.0):
        assert place.states(watched) == [JobState.RUNNING]
        assert not watched.missing
    clock.seconds = 1601.0
    assert place.states(watched) == [JobState.LOST]
    assert list(watched.missing) == [0]
    error = of_status(FinalStatus(JobState.LOST, watched.report(0)), Facts(KEY, 0, "7_0", "/log"))
    assert "it left no outcome, and it is a runaway job of the accounting. Its log" in str(error)


def test_the_last_of_several_accounting_records_counts() -> None:
    place = Place(remembered=[reported("7", JobState.NODE_FAIL), reported("7", JobState.PENDING)], silent=["7"])
    assert place.states(place.watch(block())) == [JobState.PENDING]


@pytest.mark.parametrize(
    ("scheduler", "id_", "origin", "here"),
    [
        ("slurm", "7", Origin(cluster="a"), Here("slurm", Origin(cluster="b"))),
        ("slurm", "7;c", Origin(cluster="a"), Here("slurm", Origin(cluster="b"))),
        ("local", "7", BOX, Here("local", BOX.replace(cluster="bbbb"))),
        ("local", "7", BOX, Here("local", Origin(cluster="bbbb", host="desk", boot="2"))),
        ("local", "7", None, Here("slurm", Origin(cluster="b"))),
        ("slurm", "7", Origin(cluster="a"), Here("local", BOX)),
    ],
)
def test_a_job_of_another_scheduler_is_unknown_and_not_queried(
    scheduler: str, id_: str, origin: Origin | None, here: Here
) -> None:
    place = Place(reported(id_, JobState.RUNNING))
    place.here = here
    watched = place.watch(block(id_, origin), count=2, scheduler=scheduler)  # the second element has no room yet
    assert place.states(watched) == [JobState.UNKNOWN, JobState.UNKNOWN]
    assert watched.status(0, None).reason == f"it was submitted to {origin or scheduler}; here is {here}"
    assert (place.asked, place.completed, list(watched.missing)) == ([], [], [1])


@pytest.mark.parametrize(
    ("id_", "origin", "here"),
    [
        ("7", None, Here("slurm", Origin(cluster="b"))),  # a record of an earlier version
        ("7", Origin(cluster="a"), Here("slurm", None)),
        ("7", Origin(cluster="a"), Here("slurm", Origin(cluster="a"))),
        ("7;b", Origin(cluster="a"), Here("slurm", Origin(cluster="a"))),
        ("7;b", Origin(cluster="a"), Here("slurm", Origin(cluster="b"))),
        ("7", BOX, Here("slurm", BOX)),
        ("7", BOX.replace(boot=""), Here("slurm", BOX)),
    ],
)
def test_a_job_that_this_scheduler_may_have_is_queried(id_: str, origin: Origin | None, here: Here) -> None:
    place = Place(reported(id_, JobState.RUNNING))
    place.here = here
    assert place.states(place.watch(block(id_, origin))) == [JobState.RUNNING]


@pytest.mark.parametrize("name", ["aaaa", "bbbb"], ids=["same directory", "emptied directory"])
def test_a_job_from_before_a_restart_of_the_machine_is_lost(name: str) -> None:
    place = Place(reported("7", JobState.RUNNING))
    place.here = Here("slurm", BOX.replace(cluster=name, boot="2"))
    watched = place.watch(block("7", BOX))
    assert place.states(watched) == [JobState.LOST]
    error = of_status(FinalStatus(JobState.LOST, watched.report(0)), Facts(KEY, 0, "7_0", "/log"))
    assert "is lost: it left no outcome, and the machine was restarted. Its log" in str(error)
    assert place.asked == []


def test_a_restart_that_an_answer_reveals_counts_at_once() -> None:
    place = Place(reported("7", JobState.RUNNING))
    place.here = Here("slurm", BOX)
    watched = place.watch(block("7", BOX))
    assert place.states(watched) == [JobState.RUNNING]

    def query(ids: Sequence[str]) -> Answers:
        place.here = Here("slurm", BOX.replace(boot="2"))
        return Answers([reported(id_, JobState.RUNNING) for id_ in ids], set(), None)

    poller = StatusPoller(
        query=query, history=lambda _: (), complete=lambda _: None, here=lambda: place.here, runaway=Timings().runaway
    )
    assert poller.query([watched]).reports[KEY][0].state is JobState.LOST


def test_a_job_that_cannot_start_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    stuck = reported("7", JobState.PENDING)._replace(reason="PartitionNodeLimit", stuck=True)
    place = Place(stuck, reported("8", JobState.PENDING, OTHER))
    watched, other = place.watch(block()), place.watch(block("8"), key=OTHER)
    for _ in range(3):
        place.tracker.query([watched, other])
    assert caplog.text.count("cannot start as it was submitted: PENDING (PartitionNodeLimit)") == 1
    assert f"{KEY} cannot start" in caplog.text
    assert OTHER not in caplog.text
