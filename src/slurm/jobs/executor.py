"""ClusterExecutor: the standard library's Executor, with its own Futures, on a cluster."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from slurm.errors import JobCancelled
from slurm.jobs import waiting
from slurm.notifications.dispatcher import settling
from slurm.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from slurm.jobs.job import Job, JobArray
    from slurm.tasks.settings import Settings
    from slurm.tasks.task import Submitter

P = ParamSpec("P")
R = TypeVar("R")


class JobFuture(Future[R]):
    """A real `concurrent.futures.Future`, of a job: `future.job`."""

    def __init__(self, job: Job[R]) -> None:
        super().__init__()
        self.job = job
        self._lock = threading.Lock()
        self._called_back = False
        job.when_finished(lambda: settling.put(self._settle))

    def cancel(self) -> bool:
        """Ask the scheduler to end the job, also one that runs; the future is cancelled once it has ended."""
        return self.job.cancel()

    def running(self) -> bool:
        """Whether the job runs now. Asks the scheduler."""
        return not self.done() and self.job.running()

    def add_done_callback(self, fn: Callable[[Future[R]], object]) -> None:
        """Call `fn(future)` once it has ended, from a background thread; at once if it has."""
        with self._lock:
            self._called_back = True
        super().add_done_callback(fn)

    def _settle(self) -> None:
        """End as the job has. What is called back then may be slow, so that is done in a thread of its own."""
        error: BaseException | None
        try:
            error = self.job.exception()
        except BaseException as untold:  # noqa: BLE001 - whatever keeps the job from telling is what the future tells
            error = untold
        with self._lock:
            if not self._called_back:
                self._end(error)
                return
        try:
            threading.Thread(target=self._end, args=(error,), name="slurm-future", daemon=True).start()
        except RuntimeError:  # there can be no more threads
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if isinstance(error, JobCancelled):
            super().cancel()
        self.set_running_or_notify_cancel()
        if error is None:
            self.set_result(self.job.result())
        elif not self.cancelled():
            self.set_exception(error)


class ClusterExecutor(Executor):
    """Runs functions on a cluster: `submit` is a job of its own, `map` one array."""

    def __init__(self, cluster: Submitter, terms: Settings) -> None:
        self._cluster = cluster
        self._terms = terms
        self._submitted: list[JobArray[Any]] = []
        self._futures: set[JobFuture[Any]] = set()
        self._closed = False

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobFuture[R]:
        """Submit one call; a plain function or a task."""
        future = JobFuture(self._task(function)(*args, **kwargs))
        self._futures.add(future)
        Future.add_done_callback(future, lambda _: self._futures.discard(future))
        return future

    def map(
        self, fn: Callable[..., R], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[R]:
        """Submit a call for each item, at once and as one array; the results come in order.

        `chunksize` calls go into one element of the array, unless it is 1 and the options say how many. TimeoutError
        if they aren't all there in `timeout` seconds.
        """
        jobs: JobArray[R] = self._task(fn).map(*iterables, chunk_size=chunksize if chunksize > 1 else None)
        self._submitted.append(jobs)
        return _in_order(jobs, None if timeout is None else time.monotonic() + timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the base
        """Take no more calls; wait for those submitted, or cancel them."""
        self._closed = True
        if cancel_futures:
            waiting.cancel([future.job for future in tuple(self._futures)], *self._submitted)
        if wait:
            waiting.wait(self._submitted)
            concurrent.futures.wait(tuple(self._futures))

    def _task(self, function: Callable[..., R]) -> Task[..., R]:
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        found: Task[..., R] = function if isinstance(function, Task) else Task(function)
        return type(found)(
            found.unwrapped,
            self._terms.merged(found.terms),
            upstreams=found.upstreams,
            submitter=self._cluster,
        )


def _in_order(jobs: JobArray[R], end: float | None) -> Iterator[R]:
    yield from jobs.results(None if end is None else max(0.0, end - time.monotonic()))
