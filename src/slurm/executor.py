"""ClusterExecutor: the standard library's Executor, with its own Futures, on a cluster."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Executor, Future
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from slurm.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from slurm.array import JobArray
    from slurm.job import Job
    from slurm.options import Options
    from slurm.tasks import Submitter

P = ParamSpec("P")
R = TypeVar("R")


class JobFuture(Future[R]):
    """A real `concurrent.futures.Future`, of a job: `future.job`."""

    job: Job[R]

    def cancel(self) -> bool:
        """Ask the scheduler to end the job, also one that runs; the future is cancelled once it has ended."""
        return self.job.cancel()


class ClusterExecutor(Executor):
    """Runs functions on a cluster: `submit` is a job of its own, `map` one array."""

    def __init__(self, cluster: Submitter, options: Options) -> None:
        self._cluster = cluster
        self._options = options
        self._lock = threading.Lock()
        self._pending: set[JobFuture[Any]] = set()
        self._closed = False

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobFuture[R]:
        """Submit one call; a plain function or a task."""
        self._refuse_if_closed()
        return self._future(self._task(function)(*args, **kwargs))

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[R]:
        """Submit a call for each item, at once and as one array; the results come in order.

        TimeoutError if they aren't there `timeout` seconds after the first is asked for. `chunksize` is taken for the
        interface's sake.
        """
        del chunksize
        self._refuse_if_closed()
        jobs: JobArray[R] = self._task(fn).map(*iterables)
        return _in_order(jobs, timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the base
        """Take no more calls; wait for those submitted, or cancel them."""
        with self._lock:
            self._closed = True
            pending = list(self._pending)
        for future in pending if cancel_futures else ():
            future.cancel()
        for future in pending if wait else ():
            try:
                future.exception()
            except CancelledError:
                continue

    def _task(self, function: Callable[..., R]) -> Task[..., R]:
        found: Task[..., R] = function if isinstance(function, Task) else Task(function)
        return Task(
            found.unwrapped,
            self._options.merged(found.options),
            upstreams=found.upstreams,
            submitter=self._cluster,
        )

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _future(self, job: Job[R]) -> JobFuture[R]:
        future: JobFuture[R] = JobFuture()
        future.job = job
        future.set_running_or_notify_cancel()
        with self._lock:
            self._pending.add(future)
        job.add_done_callback(lambda ended: self._settle(future, ended))
        return future

    def _settle(self, future: JobFuture[R], job: Job[R]) -> None:
        with self._lock:
            self._pending.discard(future)
        error = job.exception()
        if error is None:
            future.set_result(job.result())
        else:
            future.set_exception(error)


def _in_order(jobs: JobArray[R], timeout: float | None) -> Iterator[R]:
    yield from jobs.results(timeout)
