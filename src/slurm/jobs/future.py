"""JobFuture: a future of the standard library for a call of an executor."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from slurm.errors import JobCancelled
from slurm.jobs import completion
from slurm.notifications.dispatcher import settling
from slurm.protocol.states import JobState
from slurm.sanitize.numbers import seconds_to_wait
from slurm.serialization.pickling import Placeholder
from slurm.tracking.interruptible import in_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slurm.jobs.job import Job
    from slurm.serialization.pickling import Reference

R = TypeVar("R")


def _never() -> bool:
    return False


class JobFuture(Future[R], Placeholder):
    """A real `concurrent.futures.Future` for a job, which is `future.job`.

    In the arguments of another call, at any depth, it stands for its result, as its job does. `name` is the name of the
    task. `withdraw` drops the call if it has not been submitted yet, and returns whether it has dropped it.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.withdraw: Callable[[], bool] = _never
        self._name = name
        self._job: Job[R] | None = None
        self._begun = threading.Event()
        self._lock = threading.Lock()
        self._called_back = self._claimed = False

    @property
    def job(self) -> Job[R]:
        """The job. Waits for it if the executor has no free slot. If there is none, raises what `result` raises."""
        job = self.wait_for_job()
        if job is not None:
            return job
        raise self.exception() or RuntimeError(f"{self!r} was not submitted")

    def wait_for_job(self) -> Job[R] | None:
        """Wait until the call is submitted; None if it was dropped before, or its submission failed."""
        in_pieces(self._begun.wait)
        return self._job

    @property
    def reference(self) -> Reference:
        """Stands for its result in the arguments of other calls."""
        if self._job is None:
            raise RuntimeError(f"{self!r} has no job yet: pass future.job, which waits for it")
        return self._job.reference

    def result(self, timeout: float | None = None) -> R:
        """Wait for the result and return it, as in the standard library. On Ctrl-C, says how to open the job again."""
        with self._interruptible():
            completion.future_ended(self, seconds_to_wait(timeout))
            return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end, and return the exception that `result()` would raise, or None for a success."""
        with self._interruptible():
            completion.future_ended(self, seconds_to_wait(timeout))
            return super().exception(0)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            if self.done() or self._job is None:
                raise
            raise KeyboardInterrupt(f"the job goes on; {completion.come_back([self._job])}") from None

    def cancel(self) -> bool:
        """Ask the scheduler to end the job, even if it runs. Returns False only if it has ended in another way."""
        if self.done() or self.withdraw():
            return self.cancelled()
        job = self.wait_for_job()
        if job is not None and job.cancel():
            self.dropped()
        return self.cancelled()

    def running(self) -> bool:
        """Whether the job runs now. Asks the scheduler."""
        return not self.done() and self._job is not None and self._job.running()

    def add_done_callback(self, fn: Callable[[Future[R]], object]) -> None:
        """Call `fn(future)` once the future has ended, from a background thread; at once if it has ended already."""
        with self._lock:
            self._called_back = True
        super().add_done_callback(fn)

    def __repr__(self) -> str:
        state = super().__repr__().rpartition(" state=")[2]
        if self._job is None:
            return f"<JobFuture of {self._name}, not submitted, state={state}"
        part = self._job.part
        if not self.done() and part.state.state_name(self._job.index) == JobState.RUNNING.value:
            state = "running>"
        return f"<JobFuture {self._job.key} state={state}"

    # Methods for the executor.

    def submitted(self, job: Job[R]) -> None:
        """Follow the job that the call has now."""
        self._job = job
        self.withdraw = _never  # the function refers to the arguments
        self._begun.set()
        job.when_finished(lambda: settling.put(self._settle))

    def not_submitted(self, error: BaseException) -> None:
        """End the future with the error of the submission."""
        if self._claim():
            self.set_running_or_notify_cancel()
            self.set_exception(error)
        self.withdraw = _never
        self._begun.set()

    def dropped(self) -> None:
        """End the future as cancelled."""
        if self._claim():
            super().cancel()
            self.set_running_or_notify_cancel()
        self.withdraw = _never
        self._begun.set()

    def _claim(self) -> bool:
        """Whether the caller is the first that ends the future: only the first may end it."""
        with self._lock:
            first, self._claimed = not self._claimed, True
            return first

    def _settle(self) -> None:
        """End the future as the job has ended. User callbacks may be slow, so they are called in a separate thread."""
        if self._claimed or self._job is None:
            return
        error: BaseException | None
        try:
            error = self._job.exception()
        except BaseException as problem:  # noqa: BLE001 - the reason why the outcome is unknown is the future's error
            error = problem
        with self._lock:
            direct = not self._called_back
        if direct:
            self._end(error)
            return
        try:
            threading.Thread(target=self._end, args=(error,), name="slurm-future", daemon=True).start()
        except RuntimeError:  # there can be no more threads
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if isinstance(error, JobCancelled):
            self.dropped()
        elif self._claim():
            self.set_running_or_notify_cancel()
            if error is None:
                self.set_result(self.job.result())
            else:
                self.set_exception(error)
