"""Tracker: follow all jobs of one cluster: list outcomes often, and query the scheduler rarely.

An outcome file always decides. Without one, the scheduler's report counts; if the scheduler has forgotten the job, the
job is lost. Nothing is queried while nothing waits.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from slurm.errors import SchedulerError, SlurmError, TransportError
from slurm.notifications.dispatcher import call
from slurm.protocol.states import JobState
from slurm.sanitize.numbers import seconds_to_wait
from slurm.submission.growing_state import GrowingState
from slurm.submission.status import FinalStatus
from slurm.tracking.interruptible import in_pieces
from slurm.transports.base import pauses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from slurm.submission.registry import SubmissionRegistry
    from slurm.submission.status import Settled
    from slurm.submission.submission_state import SubmissionState
    from slurm.submission.timings import Timings
    from slurm.tracking.status_poller import StatusPoller

    Listing = Callable[[Sequence[str]], Mapping[str, frozenset[int] | TransportError]]
    Statuses = Mapping[int, FinalStatus]
    Finalize = Callable[[SubmissionState, Statuses, Statuses], Statuses]

_log = logging.getLogger(__name__)

_ALIVE = (JobState.RUNNING, JobState.SUSPENDED, JobState.COMPLETING)
_BY_ITSELF = (JobState.COMPLETED, JobState.FAILED)


class Tracker:
    """Follows submissions in one background thread, which runs only while something waits."""

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        registry: SubmissionRegistry,
        *,
        listing: Listing,
        learn_growth: Callable[[Sequence[SubmissionState]], Sequence[Settled]] = lambda _: (),
        distrust: Callable[[str], object] = lambda _: None,
        poller: StatusPoller,
        finalize: Finalize,
        poll_progress: Callable[[], object],
        pace: float,
        patience: tuple[float, float],
        timings: Timings,
    ) -> None:
        self._registry, self._listing, self._poller, self._finalize = registry, listing, poller, finalize
        self._poll_progress, self._pace, self._patience, self._timings = poll_progress, pace, patience, timings
        self._changed = threading.Condition()
        self._kept: list[SubmissionState] = []  # waited for, maybe without a handle
        self._thread: threading.Thread | None = None
        self._poll: threading.Thread | None = None
        self._changed_at = self._query_at = self._queried_at = time.monotonic()
        self._pauses = self._growing_pauses()
        self._distrust, self._distrusts = distrust, False
        self._learn_growth, self._growth_at = learn_growth, 0.0

    def after_fork(self) -> None:
        """Replace the lock and the threads, which belong to the parent."""
        self._changed = threading.Condition()
        self._thread = self._poll = None

    def wait(self, watched: SubmissionState, indices: Sequence[int], timeout: float | None) -> bool:
        """Wait until calls have ended; False after `timeout` seconds. Raises ValueError for NaN."""
        timeout = seconds_to_wait(timeout)
        unfinished = [e for e in dict.fromkeys(map(watched.element, indices)) if not watched.element_finished(e)]

        def all_ended() -> bool:
            while unfinished and watched.element_finished(unfinished[-1]):
                unfinished.pop()
            return not unfinished

        if not unfinished:
            return True
        with watched.waiting(), self._changed:
            self._follow(watched)
            return in_pieces(partial(self._changed.wait_for, all_ended), timeout)

    def when_finished(self, watched: SubmissionState, index: int, callback: Callable[[], object]) -> None:
        """Call `callback` once when a call has ended; at once if it has ended already."""
        if watched.add_callback(index, callback):
            self.follow(watched)
        else:
            callback()

    def when_pool_ended(self, watched: GrowingState, callback: Callable[[], object]) -> None:
        """Call `callback` once when all elements of an elastic pool have ended and none may be added; at once if so."""
        if watched.add_end_callback(callback):
            self.follow(watched)
        else:
            callback()

    def follow(self, watched: SubmissionState) -> None:
        """Start the thread, which runs while anything waits for this or another submission."""
        with self._changed:
            self._follow(watched)

    def list_outcomes(self, several: Iterable[SubmissionState]) -> None:
        """List the outcomes of submissions now. If that fails, the error becomes the submission's `trouble`.

        First, learn which elements were added to elastic pools. If a listing lacks the outcome of an element that was
        reported as completed before, the listing came from a cache: the next listings bypass the cache.
        """
        several = list(several)
        self._announce(self._learn_growth(several))
        self._list(several)

    def _list(self, several: Iterable[SubmissionState]) -> None:
        pending = [watched for watched in several if watched.lacks_outcomes]
        missing = {} if self._distrusts else {watched.key: watched.missing for watched in pending}
        listed = self._listing([watched.key for watched in pending]) if pending else {}
        settled: list[Settled] = []
        for watched in pending:
            found, before = listed[watched.key], watched.trouble
            watched.trouble = found if isinstance(found, TransportError) else None
            if not isinstance(found, TransportError):
                settled.append(watched.add_outcomes(found))
                self._distrust_if_late(watched, missing.get(watched.key, frozenset()) - found)
            elif before is None:
                _log.warning("%s; trying again", found)
        self._announce(settled)

    def learn(self, watched: SubmissionState, elements: Iterable[int]) -> None:
        """Note that elements have outcomes, which the caller has read. Wakes the threads that wait for them."""
        self._announce([watched.add_outcomes(elements)])

    def _distrust_if_late(self, watched: SubmissionState, missing: frozenset[int]) -> None:
        reports = (watched.report(element * watched.chunk) for element in missing)
        if any(report is not None and report.state is JobState.COMPLETED for report in reports):
            _log.debug("the outcomes of %s are listed late: looking past the caches there", watched.key)
            self._distrusts = True
            self._distrust(watched.key)

    def query(self, several: Iterable[SubmissionState], *, partly: bool = False) -> None:
        """Query the scheduler about submissions now. Raises SchedulerError if it, or one of several clusters, fails.

        With `partly`, raises only if all clusters fail, so that one that is down does not hide the jobs of the others.
        Submissions whose client died before it recorded the ids are located first.
        """
        unfinished = [watched for watched in several if watched.unfinished]
        for watched in unfinished:
            if watched.server is not None:
                watched.server.query()
        pending = [watched for watched in unfinished if watched.server is None]
        if not pending:
            return
        found = self._poller.query(pending)
        for watched in pending:
            watched.note_missing(found.reports[watched.key], time.monotonic())
        if found.trouble and not (partly and found.partly):
            raise SchedulerError(found.trouble)

    def explain(self, watched: SubmissionState, index: int) -> FinalStatus | None:
        """The scheduler's final status of an element whose process only recorded a signal.

        Waits a little, because the scheduler reports the status after the end of the element. None if the scheduler did
        not end the element, or has forgotten it.
        """
        if watched.server is not None:
            return None
        end = time.monotonic() + self._timings.verdict
        element = watched.element(index)
        while not ((report := watched.report(index)) and report.state.final):
            known = self._poller.query([watched]).reports[watched.key]
            if element not in known or known[element].state is JobState.UNKNOWN or time.monotonic() > end:
                break
            time.sleep(0.2)
        report = watched.report(index)
        by_scheduler = report is not None and report.state.final and report.state not in _BY_ITSELF
        return FinalStatus(report.state, report) if report and by_scheduler else None

    def lives(self, watched: SubmissionState, indices: Iterable[int]) -> bool:
        """Whether the scheduler still runs a job of calls that have ended, which may print more. Takes one query."""
        if watched.server is not None:
            return False
        reports = self._poller.query([watched]).reports[watched.key]
        found = (reports.get(element) for element in set(map(watched.element, indices)))
        return any(report is not None and report.state in _ALIVE for report in found)

    def check(self, several: Sequence[SubmissionState]) -> None:
        """Check submissions now: finish or resubmit their elements that have ended."""
        self.list_outcomes(several)
        self.query(several)
        self._finalize_overdue(several)

    def finish(self, watched: SubmissionState) -> None:
        """Check a submission, at growing intervals, until no element lacks the outcome that it should have."""
        for pause in pauses(self._timings.slowest_look, self._patience[1], factor=1.5):
            try:
                self.check([watched])
                if not watched.missing:
                    return
            except (SchedulerError, TransportError) as error:
                _log.warning("%s: %s; trying again", type(error).__name__, error)
            time.sleep(pause)

    def query_soon(self) -> None:
        """Query the scheduler soon, because the caller has done something that changes states."""
        with self._changed:
            self._pauses = self._growing_pauses()
            self._query_at = time.monotonic() + min(0.2, self._patience[0])
            self._changed.notify_all()

    def _follow(self, watched: SubmissionState) -> None:
        """Keep a submission, and start the thread if it does not run. The caller holds the lock."""
        if watched.server is not None:
            watched.server.follow()
            return
        self._kept.append(watched)
        now = time.monotonic()
        self._changed_at, self._pauses = now, self._growing_pauses()
        self._query_at = min(max(self._query_at, now), now + self._patience[0])
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, name="slurm-tracker", daemon=True)
            thread.start()
            self._thread = thread

    def _growing_pauses(self) -> Iterator[float]:
        """The seconds between queries as long as nothing changes."""
        return pauses(*self._patience, factor=1.5)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._kept = wanted = [w for w in self._registry.all() if w.wanted and (w.unfinished or w.may_grow)]
                if not wanted:
                    self._thread = None
                    return
            pause = self._tick(wanted)
            with self._changed:
                self._changed.wait(pause)

    def _tick(self, wanted: list[SubmissionState]) -> float:
        """List outcomes, and query the scheduler if a query is due. Returns the seconds until the next tick."""
        begin = listed = time.monotonic()
        upstreams = {id(upstream): upstream for watched in wanted for upstream in tuple(watched.upstreams.values())}
        unfinished = [upstream for upstream in upstreams.values() if upstream.unfinished]
        try:
            eager = self._timings.eagerness * (begin - self._changed_at)
            if begin - self._growth_at > min(max(self._timings.growth_look, eager), self._timings.growth_rest):
                self._growth_at = begin
                growing = [each for each in wanted if isinstance(each, GrowingState) and each.wants_growth]
                self._announce(self._learn_growth(growing))
            self._list({watched.key: watched for watched in (*wanted, *unfinished)}.values())
            listed = time.monotonic()
            self._poll_progress()
            room = self._changed_at > self._queried_at and any(watched.unqueued for watched in wanted)
            if room or not all(watched.unfinished for watched in unfinished):  # dependents may be cancelled now
                self._pauses, self._query_at = self._growing_pauses(), self._queried_at + self._patience[0]
            self._start_poll(wanted, due=begin >= self._query_at)
        except Exception as error:  # noqa: BLE001 - this loop must live, or futures hang
            # The next tick may succeed. No element is finalized because of a failed query.
            _log.warning("%s: %s; trying again", type(error).__name__, error)
            self._query_at = begin + self._patience[1]
            return self._patience[0]
        timings = self._timings
        eager = min(timings.slowest_look, timings.eagerness * (begin - self._changed_at))
        return max(self._pace, eager, min(timings.longest_rest, 10 * (listed - begin - 0.01)))

    def _start_poll(self, wanted: Sequence[SubmissionState], *, due: bool) -> None:
        """Start another thread that queries if `due`, and finalizes overdue elements: answers may be slow and huge."""
        idle = self._poll is None or not self._poll.is_alive()
        if idle and (due or any(watched.missing for watched in wanted)):
            self._poll = threading.Thread(target=self._run_poll, args=(wanted, due), name="slurm-poll", daemon=True)
            self._poll.start()

    def _run_poll(self, wanted: Sequence[SubmissionState], due: bool) -> None:  # noqa: FBT001 - a thread's arguments
        begin = time.monotonic()
        try:
            if due:
                self._queried_at, self._query_at = begin, begin + next(self._pauses)
                self.query(wanted)
            self._finalize_overdue(wanted)
        except Exception as error:  # noqa: BLE001 - as in `_tick`
            _log.warning("%s: %s; trying again", type(error).__name__, error)
            self._query_at = begin + self._patience[1]

    def _finalize_overdue(self, wanted: Iterable[SubmissionState]) -> None:
        """Finalize the elements whose outcomes have not appeared within the grace period, unless they run again."""
        now = time.monotonic()
        trouble: SlurmError | None = None
        for watched in wanted:
            if watched.trouble is not None:  # outcomes may exist: the grace period begins when they can be listed
                watched.restart_grace(now)
                continue
            overdue, within = watched.overdue(now, self._timings)
            try:
                if overdue or (within and watched.continues):
                    self._announce([watched.add_final(self._finalize(watched, overdue, within))])
            except SlurmError as error:  # the error must not affect other submissions
                trouble = error
        if trouble is not None:
            raise trouble

    def _announce(self, settled: Sequence[Settled]) -> None:
        """Wake the threads that wait for elements that have just ended, and call their callbacks."""
        if any(some.elements for some in settled):
            with self._changed:
                self._changed_at = time.monotonic()
                self._changed.notify_all()
        call(callback for some in settled for callback in some.callbacks)
