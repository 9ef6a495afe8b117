"""Completion: the jobs of any number of clusters, each as it ends."""

from __future__ import annotations

import queue
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from slurm.sanitize.numbers import seconds_to_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator


class Waitable(Protocol):
    """Calls back once it has ended, as a job does."""

    def when_finished(self, callback: Callable[[], object], /) -> Callable[[], None]:
        """Call back once it has ended; returns a function that undoes this."""


W = TypeVar("W", bound=Waitable)


def as_they_end(jobs: Collection[W], timeout: float | None) -> Iterator[W]:
    """Each job as it ends. TimeoutError if not all have ended after `timeout` seconds."""
    timeout = seconds_to_wait(timeout)
    end = None if timeout is None else time.monotonic() + timeout
    ended: queue.SimpleQueue[W] = queue.SimpleQueue()
    undo = [job.when_finished(partial(ended.put, job)) for job in jobs]
    try:
        for left in range(len(jobs), 0, -1):
            try:
                yield ended.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"{left} of {len(jobs)} jobs have not ended after {timeout} s; they go on") from None
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"{left} of {len(jobs)} jobs have not ended; they go on") from None
    finally:
        for forget in undo:
            forget()
