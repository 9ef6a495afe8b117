"""Tracker: follow all jobs of one cluster: list outcomes often, and query the scheduler rarely.

An outcome file is the truth. Without one, the scheduler's report counts; if the scheduler has forgotten the job, it is
lost. Nothing is queried while nobody waits.
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
from slurm.submission.status import FinalStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.submission.registry import SubmissionRegistry
    from slurm.submission.submission_state import Settled, SubmissionState
    from slurm.submission.timings import Timings
    from slurm.tracking.status_poller import StatusPoller

    Listing = Callable[[Sequence[str]], Mapping[str, frozenset[int] | TransportError]]
    Statuses = Mapping[int, FinalStatus]
    Finalize = Callable[[SubmissionState, Statuses, Statuses], Statuses]

_log = logging.getLogger(__name__)

_BY_ITSELF = (JobState.COMPLETED, JobState.FAILED)


class Tracker:
    """Follows submissions in one background thread, which runs only while somebody waits."""

    def __init__(
        self,
        registry: SubmissionRegistry,
        *,
        listing: Listing,
        poller: StatusPoller,
        finalize: Finalize,
        pace: float,
        patience: tuple[float, float],
        timings: Timings,
    ) -> None:
        self._registry, self._listing, self._poller, self._finalize = registry, listing, poller, finalize
        self._pace, self._patience, self._timings = pace, patience, timings
        self._changed = threading.Condition()
        self._kept: list[SubmissionState] = []  # what somebody waits for, though no handle may be left
        self._thread: threading.Thread | None = None
        self._poll: threading.Thread | None = None
        self._news_at = self._ask_at = self._asked_at = time.monotonic()
        self._pause = patience[0]

    def after_fork(self) -> None:
        """Replace the lock and the threads, which are the parent's."""
        self._changed = threading.Condition()
        self._thread = self._poll = None

    def wait(self, watched: SubmissionState, indices: Sequence[int], timeout: float | None) -> bool:
        """Wait until all of some calls have ended; False after `timeout` seconds. Raises ValueError for NaN."""
        timeout = seconds_to_wait(timeout)
        left = [e for e in dict.fromkeys(map(watched.element, indices)) if not watched.element_finished(e)]

        def all_ended() -> bool:
            while left and watched.element_finished(left[-1]):
                left.pop()
            return not left

        if not left:
            return True
        with watched.waiting(), self._changed:
            self._follow(watched)
            return self._changed.wait_for(all_ended, timeout)

    def when_finished(self, watched: SubmissionState, index: int, callback: Callable[[], object]) -> None:
        """Call back once when a call has ended; at once if it has."""
        if watched.add_callback(index, callback):
            self.follow(watched)
        else:
            callback()

    def follow(self, watched: SubmissionState) -> None:
        """Run the thread while anything is wanted of this submission, or of another."""
        with self._changed:
            self._follow(watched)

    def look(self, several: Iterable[SubmissionState]) -> None:
        """List the outcomes of submissions now. A listing that fails is the `trouble` of its submission."""
        pending = [watched for watched in several if watched.lacks_outcomes]
        if pending:
            listed = self._listing([watched.key for watched in pending])
            settled: list[Settled] = []
            for watched in pending:
                done, before = listed[watched.key], watched.trouble
                watched.trouble = done if isinstance(done, TransportError) else None
                if not isinstance(done, TransportError):
                    settled.append(watched.add_outcomes(done))
                elif before is None:
                    _log.warning("%s; trying again", done)
            self._announce(settled)

    def ask(self, several: Iterable[SubmissionState], *, partly: bool = False) -> None:
        """Query the scheduler about submissions now. Raises SchedulerError if it, or one of several clusters, fails.

        With `partly`, raise only if all clusters fail: one that is down must not hide the jobs of the others.

        A submission whose client died before it recorded the ids is located first.
        """
        pending = [watched for watched in several if watched.unfinished]
        said = self._poller.ask(pending)
        now = time.monotonic()
        for watched in pending:
            watched.judge(said.reports[watched.key], now)
        if said.trouble and not (partly and said.partly):
            raise SchedulerError(said.trouble)

    def explain(self, watched: SubmissionState, index: int) -> FinalStatus | None:
        """How the scheduler ended an element whose process only recorded a signal.

        Waits a little, because the scheduler reports it after the element's end. None if the scheduler did not end it,
        or has forgotten it.
        """
        end = time.monotonic() + self._timings.verdict
        element = watched.element(index)
        while not ((report := watched.report(index)) and report.state.final):
            known = self._poller.ask([watched]).reports[watched.key]
            if element not in known or known[element].state is JobState.UNKNOWN or time.monotonic() > end:
                break
            time.sleep(0.2)
        report = watched.report(index)
        by_scheduler = report is not None and report.state.final and report.state not in _BY_ITSELF
        return FinalStatus(report.state, report) if report and by_scheduler else None

    def attend(self, watched: SubmissionState) -> None:
        """Look at one submission now: finish, or resubmit, its elements that have ended."""
        self.look([watched])
        self.ask([watched])
        self._end_overdue([watched])

    def settle(self, watched: SubmissionState) -> None:
        """Attend to a submission, ever less often, until the scheduler has all elements that have not ended."""
        pause = self._timings.slowest_look
        while True:
            try:
                self.attend(watched)
                if not watched.missing:
                    return
            except (SchedulerError, TransportError) as error:
                _log.warning("%s: %s; trying again", type(error).__name__, error)
            time.sleep(pause)
            pause = min(pause * 1.5, self._patience[1])

    def hurry(self) -> None:
        """Query the scheduler soon, because something was done that changes states."""
        with self._changed:
            self._pause = self._patience[0]
            self._ask_at = time.monotonic() + min(0.2, self._pause)
            self._changed.notify_all()

    def _follow(self, watched: SubmissionState) -> None:
        """Keep a submission, and start the thread if it does not run. The caller holds the lock."""
        self._kept.append(watched)
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
                self._kept = wanted = [w for w in self._registry.all() if w.wanted and w.unfinished]
                if not wanted:
                    self._thread = None
                    return
            pause = self._tick(wanted)
            with self._changed:
                self._changed.wait(pause)

    def _tick(self, wanted: list[SubmissionState]) -> float:
        """Look, and query the scheduler if it is time to; returns the seconds until the next look."""
        begin = looked = time.monotonic()
        awaited = {id(upstream): upstream for watched in wanted for upstream in tuple(watched.upstreams.values())}
        before = [upstream for upstream in awaited.values() if upstream.unfinished]
        try:
            self.look({watched.key: watched for watched in (*wanted, *before)}.values())
            looked = time.monotonic()
            for subscription in filter(None, (watched.subscription for watched in wanted)):
                subscription.poll_progress()
            room = self._news_at > self._asked_at and any(watched.unqueued for watched in wanted)
            if room or not all(watched.unfinished for watched in before):  # dependents may be cancelled now
                self._pause, self._ask_at = self._patience[0], self._asked_at + self._patience[0]
            self._attend_to(wanted, due=begin >= self._ask_at)
        except Exception as error:  # noqa: BLE001 - this loop must live, or futures hang
            # It may work later; nothing is concluded from a missing answer.
            _log.warning("%s: %s; trying again", type(error).__name__, error)
            self._ask_at = begin + self._patience[1]
            return self._patience[0]
        waited = begin - self._news_at
        timings = self._timings
        eager = min(timings.slowest_look, timings.eagerness * waited)
        return max(self._pace, eager, min(timings.longest_rest, 10 * (looked - begin - 0.01)))

    def _attend_to(self, wanted: Sequence[SubmissionState], *, due: bool) -> None:
        """Query if it is time to, and finish what is overdue, in another thread: answers may be slow, and huge."""
        idle = self._poll is None or not self._poll.is_alive()
        if idle and (due or any(watched.missing for watched in wanted)):
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
        """Finish the elements whose outcome has not appeared within the grace period, unless they are resubmitted."""
        now = time.monotonic()
        trouble: SlurmError | None = None
        for watched in wanted:
            if watched.trouble is not None:  # there may be outcomes: the grace period begins when they can be listed
                watched.restart_grace(now)
                continue
            overdue, within = watched.overdue(now, self._grace)
            try:
                if overdue or (within and watched.continues):
                    self._announce([watched.add_final(self._finalize(watched, overdue, within))])
            except SlurmError as error:  # of this submission only: the others go on
                trouble = error
        if trouble is not None:
            raise trouble

    def _grace(self, state: JobState) -> float:
        unexplained = state in (JobState.LOST, JobState.FAILED)
        return self._timings.unexplained_grace if unexplained else self._timings.explained_grace

    def _announce(self, settled: Sequence[Settled]) -> None:
        """Wake up the threads that wait for elements that have just ended, and call their callbacks."""
        if any(some.elements for some in settled):
            with self._changed:
                self._news_at = time.monotonic()
                self._changed.notify_all()
        call(callback for some in settled for callback in some.callbacks)
