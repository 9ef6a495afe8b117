"""CallsState: what is known about the calls of a client of a pool."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slurm.protocol import Submitted
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report
from slurm.submission.submission_state import SubmissionState

if TYPE_CHECKING:
    from collections.abc import Callable


class CallsState(SubmissionState):
    """A submission to which calls are added at any time. The elements of another submission, the pool, make its calls.

    `worker_of` returns the element that has answered a call, and the number of its worker; zeros if they are not known.
    """

    def __init__(self, key: str, pool: SubmissionState, worker_of: Callable[[int], tuple[int, int]]) -> None:
        super().__init__(key, 0, Submitted(scheduler=pool.scheduler, blocks=()), mapped=True, created=time.time())
        self._pool, self._worker_of = pool, worker_of
        self.queued_here = ("",)

    def grow(self, count: int) -> range:
        """Add calls; return their indices."""
        with self._lock:
            first = self.count
            self.count = self.elements = first + count
        return range(first, first + count)

    def note_begun(self, index: int, host: str) -> None:
        """Report to callbacks that a call runs on a host. This is known only for calls that take long."""
        if self.listener:
            state = JobState.RUNNING
            self.listener.reported({index: Report(self.job_id(index) or "", None, state, state.value, host, "")})

    def job_id(self, index: int) -> str | None:
        """The scheduler's id of the pool."""
        del index
        return self._pool.array_id(0)

    def log(self, index: int, rank: int = 0) -> str:
        """The log of the worker that makes or has made a call; if no worker is known, the log of element 0."""
        del rank
        return f"../../{self._pool.log(*self._worker_of(index))}"
