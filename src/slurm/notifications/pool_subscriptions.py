"""PoolSubscriptions: report the events of calls of a pool to the callbacks on the client.

The calls of a client are one growing submission. For callbacks, each `task.on(pool)(…)` and each map is a separate
submission, as on a cluster, with indices from 0.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from functools import partial
from typing import TYPE_CHECKING, Any

from slurm.notifications.dispatcher import hooks
from slurm.notifications.progress_reader import ProgressQuery
from slurm.notifications.subscriptions import Subscription
from slurm.protocol import EVENTS
from slurm.protocol.pools import calls_key
from slurm.protocol.states import JobState
from slurm.storage.job_store import Outcomes
from slurm.submission.submission_state import SubmissionState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.callbacks.base import Callback
    from slurm.notifications.progress_reader import ReportedProgress
    from slurm.notifications.subscriptions import Subscriptions
    from slurm.schedulers.base import Report


class _Part:
    """The calls of one submission to a pool."""

    def __init__(self, numbers: range, subscription: Subscription) -> None:
        self.numbers, self.subscription = numbers, subscription
        self.ended, self.left = bytearray(len(numbers)), len(numbers)

    def end(self, number: int) -> bool:
        """Note that a call has ended; return False if this was known."""
        at = number - self.numbers.start
        new, self.ended[at] = not self.ended[at], 1
        self.left -= new
        return new


class PoolSubscriptions:
    """The listener of the calls of a client of a pool. `outcomes` reads the outcomes of calls with given numbers."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        pool: SubmissionState,
        key: str,
        outcomes: Callable[[Iterable[int]], Outcomes],
    ) -> None:
        self._subscriptions, self._pool, self._key, self._outcomes = subscriptions, pool, key, outcomes
        self._directory = subscriptions.store.directory(pool.key) + key.removeprefix(pool.key)
        self._parts: list[_Part] = []  # parts with unfinished calls, in order
        self._offsets: dict[int, int] = {}
        """For each unfinished call that takes long, the offset in bytes up to which its progress was read."""
        self._lock, self._pid = threading.Lock(), os.getpid()
        subscriptions.pools.add(self)

    def attach(
        self, numbers: range, callbacks: Sequence[Callback], *, task: str, mapped: bool, options: Mapping[str, Any]
    ) -> None:
        """Report the events of calls that were just submitted. The caller reports calls that have ended meanwhile."""
        key = calls_key(self._key, numbers, mapped=mapped)
        state = SubmissionState(key, len(numbers), self._pool.submitted, mapped=mapped)
        outcomes = partial(self._outcomes_of, numbers.start)
        subscription = Subscription(self._subscriptions, state, JobState.PENDING, outcomes=outcomes, task=task)
        subscription.add(callbacks)
        subscription.submitted(options, self._directory)
        if any(subscription.wants(hook) for hook in ("on_state", "on_complete", "on_progress")):
            with self._lock:
                self._parts.append(_Part(numbers, subscription))

    def _outcomes_of(self, first: int, indices: Sequence[int]) -> Outcomes:
        read, unreadable = self._outcomes(first + index for index in indices)
        return Outcomes(
            {number - first: outcome for number, outcome in read.items()},
            {number - first: error for number, error in unreadable.items()},
        )

    def _part(self, number: int) -> _Part | None:
        """The submission that has a call, if the submission has unfinished calls. The caller holds the lock."""
        at = bisect_right(self._parts, number, key=lambda part: part.numbers.start) - 1
        return self._parts[at] if at >= 0 and number in self._parts[at].numbers else None

    # The Listener.

    def reported(self, reports: Mapping[int, Report]) -> None:
        """Report that calls are known to run."""
        if os.getpid() != self._pid:  # after a fork, only the parent calls hooks
            return
        for number, report in reports.items():
            with self._lock:
                part = self._part(number)
                if part and part.subscription.wants("on_progress") and not part.ended[number - part.numbers.start]:
                    self._offsets.setdefault(number, 0)
            if part:
                part.subscription.reported({number - part.numbers.start: report})

    def finished(self, elements: Iterable[int]) -> None:
        """Report that calls have ended. Each call is reported once."""
        if os.getpid() != self._pid:
            return
        ended: dict[_Part, list[int]] = {}
        with self._lock:
            for number in elements:
                if (part := self._part(number)) and part.end(number):
                    ended.setdefault(part, []).append(number)
        for part, numbers in ended.items():
            part.subscription.finished(number - part.numbers.start for number in numbers)
            hooks.put(partial(self._forget, part, numbers))  # after their last progress was read

    def grown(self, elements: range) -> None:
        """Report nothing: `attach` reports new calls."""

    def _forget(self, part: _Part, numbers: Iterable[int]) -> None:
        with self._lock:
            for number in numbers:
                self._offsets.pop(number, None)
            if not part.left and part in self._parts:
                self._parts.remove(part)

    # The ProgressTarget.

    @property
    def wants_progress(self) -> bool:
        """Whether there is an unfinished call that takes long and has callbacks for progress."""
        return bool(self._offsets)

    def progress_query(self) -> ProgressQuery:
        """The query for new progress of only the calls that take long."""
        with self._lock:
            return ProgressQuery(f"{self._directory}/{EVENTS}", 0, dict(self._offsets))

    def progressed(self, reported: Iterable[ReportedProgress]) -> None:
        """Report new progress of calls."""
        for progress in reported:
            with self._lock:
                part = self._part(progress.call)
                if progress.call in self._offsets:
                    self._offsets[progress.call] = progress.end
            if part:
                part.subscription.progressed([progress._replace(call=progress.call - part.numbers.start)])
