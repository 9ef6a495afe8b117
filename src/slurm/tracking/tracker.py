"""Tracker: the truth about all jobs of one cluster, by one listing a tick and, rarely, one question to the scheduler.

An outcome file is the truth. Where there is none, what the scheduler says counts; where that has forgotten the job, it
is lost. Nothing is asked while nobody waits.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from slurm.errors import SchedulerError, SlurmError, TransportError
from slurm.notifications.dispatcher import call
from slurm.protocol.states import JobState
from slurm.sanitize.numbers import seconds_to_wait
from slurm.submission.submission_state import FinalStatus, SubmissionState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.protocol import Refused, Submission, Submitted
    from slurm.tracking.status_poller import StatusPoller

    Listing = Callable[[Sequence[str]], Mapping[str, frozenset[int] | TransportError]]
    Endings = Mapping[int, FinalStatus]
    Conclude = Callable[[SubmissionState, Endings, Endings], Endings]

_log = logging.getLogger(__name__)

_EAGERNESS = 0.02
"""A look is due after this share of the time already waited: who waits a minute is told within a second."""
_SLOWEST_LOOK = 0.5
_REST = 5.0  # after a look that was slow itself, lest an outage be waited for ten times over
_EXPLAINED_GRACE = 1.0
"""Seconds for an outcome to show up after the scheduler has said why there may be none (cancelled, time limit …)."""
_UNEXPLAINED_GRACE = 10.0
"""The same where it says nothing, or that the job completed: shared file systems show new files late."""
_VERDICT_SECONDS = 5.0
_BY_ITSELF = (JobState.COMPLETED, JobState.FAILED)


class Tracker:
    """Follows submissions in one background thread, which runs only while somebody waits."""

    def __init__(
        self,
        *,
        listing: Listing,
        inquiry: StatusPoller,
        conclude: Conclude,
        pace: float,
        patience: tuple[float, float],
    ) -> None:
        self._listing, self._inquiry, self._conclude = listing, inquiry, conclude
        self._pace, self._patience = pace, patience
        self._watched: dict[str, SubmissionState] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._poll: threading.Thread | None = None
        self._news_at = self._ask_at = self._asked_at = time.monotonic()
        self._pause = patience[0]

    def after_fork(self) -> None:
        """In the child of a fork, neither the thread nor whoever held the lock is there any more."""
        self._changed = threading.Condition()
        self._thread = self._poll = None
        for watched in self._watched.values():
            watched.waiters, watched.feed = 0, None  # hooks are called in the parent

    def watch(
        self, submission: Submission, submitted: Submitted | None, refused: Refused | None = None
    ) -> SubmissionState:
        """The one SubmissionState of a submission in this process."""
        with self._changed:
            known = self._watched.get(submission.key)
            if known is None:
                known = SubmissionState(
                    submission.key,
                    submission.count,
                    submitted,
                    mapped=submission.mapped,
                    chunk=submission.chunk,
                    continues=submission.continues,
                    workflow=submission.workflow is not None,
                    upstreams=(edge.key for edge in submission.dependencies),
                )
                known.created = submission.created
                self._watched[submission.key] = known
            if known.submitted is None:
                known.submitted = submitted
            known.refused = refused if known.submitted is None else None
            return known

    def known(self, key: str) -> SubmissionState | None:
        """The SubmissionState of a submission, if this process follows it already."""
        return self._watched.get(key)

    def wait(self, watched: SubmissionState, indices: Sequence[int], timeout: float | None) -> bool:
        """Wait until all of some elements have ended; False if `timeout` seconds didn't suffice. ValueError for NaN."""
        timeout = seconds_to_wait(timeout)
        elements = dict.fromkeys(map(watched.element, indices))
        left = [element for element in elements if not watched.ended(element)]

        def all_ended() -> bool:
            while left and watched.ended(left[-1]):
                left.pop()
            return not left

        if not left:
            return True
        with self._changed:
            watched.waiters += 1
            self._follow()
            try:
                return self._changed.wait_for(all_ended, timeout)
            finally:
                watched.waiters -= 1

    def when_finished(self, watched: SubmissionState, index: int, callback: Callable[[], object]) -> None:
        """Call back, once, when an element has ended; at once if it has."""
        with self._changed:
            if not watched.finished(index):
                watched.callbacks.setdefault(watched.element(index), []).append(callback)
                self._follow()
                return
        callback()

    def forget(self, watched: SubmissionState, index: int, callback: Callable[[], object]) -> None:
        """Don't call back any more."""
        with self._changed:
            element = watched.element(index)
            waiting = watched.callbacks.get(element, [])
            if callback in waiting:
                waiting.remove(callback)
            if not waiting:
                watched.callbacks.pop(element, None)

    def follow(self) -> None:
        """Go on by itself while there is something to do, though nobody waits."""
        with self._changed:
            self._follow()

    def look(self, several: Iterable[SubmissionState]) -> None:
        """List the outcomes of submissions now. One whose outcomes can't be listed has that as its `trouble`."""
        pending = [watched for watched in several if len(watched.done) < watched.elements]
        if pending:
            listed = self._listing([watched.key for watched in pending])
            found: list[tuple[SubmissionState, frozenset[int]]] = []
            for watched in pending:
                done, before = listed[watched.key], watched.trouble
                watched.trouble = done if isinstance(done, TransportError) else None
                if not isinstance(done, TransportError):
                    found.append((watched, done))
                elif before is None:
                    _log.warning("%s; trying again", done)
            self._record(found)

    def ask(self, several: Iterable[SubmissionState], *, partly: bool = False) -> None:
        """Ask the scheduler about submissions now. Raises SchedulerError if it can't tell, or one of several can't.

        With `partly`, raise only if all clusters fail: one that is down must not hide the jobs of the others.

        One whose client died before it learnt the ids is located first; if it was never queued, nobody will run it.
        """
        pending = [watched for watched in several if watched.unfinished]
        said = self._inquiry.ask(pending)
        now = time.monotonic()
        for watched in pending:
            watched.judge(said.reports[watched.key], now)
        if said.trouble and not (partly and said.partly):
            raise SchedulerError(said.trouble)

    def explain(self, watched: SubmissionState, index: int) -> FinalStatus | None:
        """How the scheduler says that it ended an element, whose process could only leave that a signal came.

        Waits a little for its answer, which comes after the element's end. None if it wasn't the scheduler, or it has
        forgotten.
        """
        end = time.monotonic() + _VERDICT_SECONDS
        element = watched.element(index)
        while not (element in watched.reports and watched.reports[element].state.final):
            known = self._inquiry.ask([watched]).reports[watched.key]
            if element not in known or known[element].state is JobState.UNKNOWN or time.monotonic() > end:
                break
            time.sleep(0.2)
        report = watched.reports.get(element)
        by_scheduler = report is not None and report.state.final and report.state not in _BY_ITSELF
        return FinalStatus(report.state, report) if report and by_scheduler else None

    def attend(self, watched: SubmissionState) -> None:
        """Do now for one submission what is due: its elements that have ended by all that is known end, or go on."""
        self.look([watched])
        self.ask([watched])
        self._end_overdue([watched])

    def settle(self, watched: SubmissionState) -> None:
        """Attend to a submission until all of its elements have ended, or are the scheduler's; ever less often."""
        pause = _SLOWEST_LOOK
        while True:
            try:
                self.attend(watched)
                if not watched.missed_since:
                    return
            except (SchedulerError, TransportError) as error:
                _log.warning("%s: %s; trying again", type(error).__name__, error)
            time.sleep(pause)
            pause = min(pause * 1.5, self._patience[1])

    def hurry(self) -> None:
        """Something was done that changes states: ask the scheduler soon."""
        with self._changed:
            self._pause = self._patience[0]
            self._ask_at = time.monotonic() + min(0.2, self._pause)
            self._changed.notify_all()

    def _follow(self) -> None:
        """Have the thread run; the lock is held."""
        now = time.monotonic()
        self._news_at, self._pause = now, self._patience[0]
        self._ask_at = min(max(self._ask_at, now), now + self._pause)
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, name="slurm-tracker", daemon=True)
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        while True:
            with self._changed:
                wanted = [w for w in self._watched.values() if w.wanted and w.unfinished]
                if not wanted:
                    self._thread = None
                    return
            pause = self._tick(wanted)
            with self._changed:
                self._changed.wait(pause)

    def _tick(self, wanted: list[SubmissionState]) -> float:
        """Look, and ask if it is time to; returns the seconds until the next look."""
        begin = looked = time.monotonic()
        awaited = [self._watched[key] for key in {k for w in wanted for k in w.upstreams} & self._watched.keys()]
        before = [watched for watched in awaited if watched.unfinished]
        try:
            self.look({watched.key: watched for watched in (*wanted, *before)}.values())
            looked = time.monotonic()
            for feed in filter(None, (watched.feed for watched in wanted)):
                feed.look()
            room = self._news_at > self._asked_at and any(watched.unqueued for watched in wanted)
            if room or not all(watched.unfinished for watched in before):  # what waited for that may be cancelled now
                self._pause, self._ask_at = self._patience[0], self._asked_at + self._patience[0]
            self._attend_to(wanted, due=begin >= self._ask_at)
        except Exception as error:  # noqa: BLE001 - this loop must live, or futures hang
            # What can't be had now may be had later; nothing is concluded from silence.
            _log.warning("%s: %s; trying again", type(error).__name__, error)
            self._ask_at = begin + self._patience[1]
            return self._patience[0]
        waited = begin - self._news_at
        return max(self._pace, min(_SLOWEST_LOOK, _EAGERNESS * waited), min(_REST, 10 * (looked - begin - 0.01)))

    def _attend_to(self, wanted: Sequence[SubmissionState], *, due: bool) -> None:
        """Ask if it is time to, and end what is overdue, in a thread of its own: answers may be slow, and huge."""
        idle = self._poll is None or not self._poll.is_alive()
        if idle and (due or any(watched.missed_since for watched in wanted)):
            self._poll = threading.Thread(target=self._ask_and_end, args=(wanted, due), name="slurm-poll", daemon=True)
            self._poll.start()

    def _ask_and_end(self, wanted: Sequence[SubmissionState], due: bool) -> None:  # noqa: FBT001 - a thread's arguments
        begin = time.monotonic()
        try:
            if due:
                self._asked_at, self._ask_at = begin, begin + self._pause
                self._pause = min(self._pause * 1.5, self._patience[1])
                self.ask(wanted)
            self._end_overdue(wanted)
        except Exception as error:  # noqa: BLE001 - as in `_tick`
            _log.warning("%s: %s; trying again", type(error).__name__, error)
            self._ask_at = begin + self._patience[1]

    def _end_overdue(self, wanted: Iterable[SubmissionState]) -> None:
        """End the elements whose outcome hasn't shown up within the grace period, unless they go on in another job."""
        now = time.monotonic()
        trouble: SlurmError | None = None
        for watched in wanted:
            if watched.trouble is not None:  # there may be outcomes: the grace period begins when they can be listed
                watched.missed_since = dict.fromkeys(list(watched.missed_since), now)
                continue
            overdue: dict[int, FinalStatus] = {}
            waiting: dict[int, FinalStatus] = {}
            for index, since in list(watched.missed_since.items()):
                if watched.ended(index):  # since it was noted
                    watched.missed_since.pop(index, None)
                    continue
                report = watched.reports.get(index)
                state = report.state if report and report.state.final else JobState.LOST
                state = JobState.LOST if state is JobState.COMPLETED else state
                grace = _UNEXPLAINED_GRACE if state in (JobState.LOST, JobState.FAILED) else _EXPLAINED_GRACE
                (overdue if now - since > grace else waiting)[index] = FinalStatus(state, report)
            try:
                if overdue or (waiting and watched.continues):
                    self._end(watched, self._conclude(watched, overdue, waiting))
            except SlurmError as error:  # it is that one's, and must not keep the others from their ends
                trouble = error
        if trouble is not None:
            raise trouble

    def _record(self, found: Iterable[tuple[SubmissionState, frozenset[int]]]) -> None:
        due: list[Callable[[], object]] = []
        with self._changed:
            for watched, done in found:
                new = {element for element in done - watched.done if element < watched.elements}
                watched.done |= new
                due += self._settle(watched, new)
        call(due)

    def _end(self, watched: SubmissionState, ended: Mapping[int, FinalStatus]) -> None:
        with self._changed:
            watched.endings.update(ended)
            due = self._settle(watched, ended)
        call(due)

    def _settle(self, watched: SubmissionState, indices: Iterable[int]) -> list[Callable[[], object]]:
        """Forget what was noted of elements that have ended; returns the callbacks that are due. The lock is held."""
        due: list[Callable[[], object]] = []
        if watched.feed:
            watched.feed.ended(indices)
        for index in indices:
            watched.missed_since.pop(index, None)
            due += watched.callbacks.pop(index, [])
            self._news_at = time.monotonic()
        self._changed.notify_all()
        return due
