"""JoblibBackend: joblib.Parallel on the workers of a pool, for scikit-learn's `n_jobs` and the like."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

from slurm.errors import SlurmError
from slurm.runner.pools.calling import call

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurm.jobs.executor import ClusterExecutor
    from slurm.jobs.future import JobFuture


class JoblibBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc] # joblib has no types
    """Runs the batches of one joblib.Parallel at a time, as calls of an executor with a given number of workers."""

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, executor: ClusterExecutor, workers: int, **more: Any) -> None:
        super().__init__(nesting_level=0, **more)
        self._executor, self._workers = executor, workers
        self._futures: set[JobFuture[Any]] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """The number of workers that take part: all for -1, all but one for -2, and so on. Raises ValueError for 0."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return self._workers
        return min(n_jobs, self._workers) if n_jobs > 0 else max(1, self._workers + 1 + n_jobs)

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None) -> JobFuture[Any]:
        """Submit a batch."""
        future = self._executor.submit(call, func)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        if callback:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: JobFuture[Any]) -> Any:
        """Return the results of a batch that has ended, or raise its exception."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001, FBT002 - as the base
        """Cancel the batches that have not ended."""
        del ensure_ready
        for future in tuple(self._futures):
            with suppress(SlurmError):
                future.job.cancel()
