"""Completion: yield the jobs of any number of clusters, each as it ends."""

from __future__ import annotations

import builtins
import concurrent.futures
import contextlib
import queue
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from slurm.sanitize.numbers import seconds_to_wait, seconds_until
from slurm.tracking.interruptible import in_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from slurm.serialization.pickling import Reference


if sys.version_info >= (3, 11):

    class TimeoutError(builtins.TimeoutError):  # noqa: A001 - it is one, and differs from one of a task
        """A wait has taken longer than its timeout."""

else:

    class TimeoutError(builtins.TimeoutError, concurrent.futures.TimeoutError):  # noqa: A001 - as above
        """A wait has taken longer than its timeout. Before Python 3.11, `concurrent.futures` has a class of its own."""


class Waitable(Protocol):
    """Calls back once it has ended, as a job does."""

    def when_finished(self, callback: Callable[[], object], /) -> Callable[[], None]:
        """Call `callback` once it has ended. Returns a function that removes the callback."""


class Openable(Waitable, Protocol):
    """Can be opened again by its key, in any process."""

    @property
    def key(self) -> str:
        """The key that opens it."""

    @property
    def reference(self) -> Reference:
        """The submission and the cluster."""

    @property
    def known_to_have_ended(self) -> bool:
        """Whether this process knows that it has ended."""


W = TypeVar("W", bound=Openable)

_MOST_KEYS = 5
"""The most keys of one cluster that a message names."""


def come_back(jobs: Iterable[Openable]) -> str:
    """Return how to open the jobs again that have not ended: "come back to them with Cluster(…).job(…)"."""
    found: dict[str, dict[str, list[str]]] = {}
    for job in jobs:
        if not job.known_to_have_ended:
            found.setdefault(job.reference.home, {}).setdefault(job.reference.key, []).append(job.key)
    ways = []
    for home, submissions in found.items():
        names = [repr(names[0] if len(names) == 1 else key) for key, names in submissions.items()]
        more = f" and {len(names) - _MOST_KEYS} others, which .jobs() lists" if len(names) > _MOST_KEYS else ""
        several = f"key), key one of {', '.join(names[:_MOST_KEYS])}{more}"
        ways.append(f"Cluster({home!r}).job({several if len(names) > 1 else f'{names[0]})'}")
    it = "it" if sum(map(len, (names for some in found.values() for names in some.values()))) == 1 else "them"
    return f"come back to {it} with {'; '.join(ways)}" if ways else ""


def _go_on(left: int, jobs: Collection[Openable], when: str = "") -> str:
    how = come_back(jobs)
    return f"{left} of {len(jobs)} jobs have not ended{when}; they go on{how and f'; {how}'}"


def when_all_finish(jobs: Collection[Waitable], callback: Callable[[], object]) -> Callable[[], None]:
    """Call `callback` once all jobs have ended; at once if they have. Returns a function that removes the callback."""
    left, lock = len(jobs) + 1, threading.Lock()

    def ended() -> None:
        nonlocal left
        with lock:
            left -= 1
            last = not left
        if last:
            callback()

    undo = [job.when_finished(ended) for job in jobs]
    ended()  # without jobs, too

    def forget() -> None:
        for of_job in undo:
            of_job()

    return forget


def as_they_end(jobs: Collection[W], timeout: float | None) -> Iterator[W]:
    """Yield each job as it ends. Raises TimeoutError if not all have ended after `timeout` seconds."""
    timeout = seconds_to_wait(timeout)
    end = None if timeout is None else time.monotonic() + timeout
    ended: queue.SimpleQueue[W] = queue.SimpleQueue()
    undo = [job.when_finished(partial(ended.put, job)) for job in jobs]
    try:
        for left in range(len(jobs), 0, -1):
            try:
                yield _next(ended, seconds_until(end))
            except queue.Empty:
                raise TimeoutError(_go_on(left, jobs, f" after {timeout} s")) from None
            except KeyboardInterrupt:
                raise KeyboardInterrupt(_go_on(left, jobs)) from None
    finally:
        for forget in undo:
            forget()


def future_ended(future: concurrent.futures.Future[Any], timeout: float | None = None) -> bool:
    """Wait until a future has ended. Returns False if it has not ended after `timeout` seconds."""
    return in_pieces(lambda seconds: concurrent.futures.wait([future], seconds).done, timeout)


def _next(ended: queue.SimpleQueue[W], timeout: float | None) -> W:
    """Return the next element of a queue. Raises queue.Empty after `timeout` seconds."""
    found: list[W] = []

    def wait(seconds: float) -> bool:
        with contextlib.suppress(queue.Empty):
            found.append(ended.get(timeout=seconds))
        return bool(found)

    if not in_pieces(wait, timeout):
        raise queue.Empty
    return found[0]
