"""Job: one call on a cluster, as a future."""

from __future__ import annotations

import contextvars
import queue
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from slurm.notifications.dispatcher import dispatch
from slurm.options import Options
from slurm.protocol.states import JobState
from slurm.sanitize.numbers import seconds_to_wait, whole
from slurm.serialization import Placeholder, Reference
from slurm.tracking.result_reader import ResultReader
from slurm.views.status import Part, statuses

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator

    from typing_extensions import Unpack

    from slurm.jobs.array import JobArray
    from slurm.options.types import TaskOptions
    from slurm.places.place import Backend
    from slurm.protocol.outcomes import Outcome
    from slurm.submission.submission_state import JobStatus, SubmissionState

R = TypeVar("R", covariant=True)

_UNSET: Any = object()


class Job(Placeholder, Generic[R]):
    """One call on a cluster. It speaks `concurrent.futures.Future`, is awaitable, and outlives its process.

    Attributes do no I/O; methods may. Passed as an argument to another task, at any depth, it stands for its result.
    A pickled job, or `cluster.job(key)`, is the same job in another process.
    """

    __slots__ = ("__weakref__", "_backend", "_result", "_watched", "index")

    def __init__(self, backend: Backend, watched: SubmissionState, index: int) -> None:
        self._backend = backend
        self._watched = watched
        self._result = _UNSET
        self.index = index

    @property
    def key(self) -> str:
        """What `cluster.job(key)` brings this very job back by: the submission's key, with [index] in a map."""
        return self._watched.name(self.index)

    @property
    def job_id(self) -> str | None:
        """The scheduler's id, such as "1234_0"; None if it never got one."""
        return self._watched.job_id(self.index)

    @property
    def reference(self) -> Reference:
        """What stands for its result in the arguments of other calls."""
        return Reference("job", self._watched.key, self.index, self._watched.chunk, str(self._backend.url))

    @property
    def where(self) -> tuple[Backend, SubmissionState]:
        """The place that it is at, and what is known of its submission there."""
        return self._backend, self._watched

    @property
    def part(self) -> Part:
        """It as a part of its submission."""
        return Part(self._backend, self._watched, (self.index,))

    # As a future.

    def result(self, timeout: float | None = None) -> R:
        """Wait for the result and return it.

        Raises what the task raised, with the node's traceback as its cause; a JobError for what happened to the job
        otherwise; TimeoutError if it hasn't ended after `timeout` seconds (the job goes on).
        """
        if self._result is _UNSET:
            error = self.exception(timeout)
            if error is not None:
                raise error
        result: R = self._result
        return result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end; the exception that `result()` would raise, or None for a success."""
        self._wait(timeout)
        result, error = ResultReader(self._backend.store, self._backend.tracker, self._watched, [self.index]).of(
            self.index
        )
        if error is None:
            self._result = result
        return error

    def done(self) -> bool:
        """Whether it has ended: with a result, an error, or cancelled."""
        if not self._watched.finished(self.index):
            self._backend.tracker.look([self._watched])
        return self._watched.finished(self.index)

    @property
    def known_to_have_ended(self) -> bool:
        """Whether this process has learnt already that it has ended; unlike `done()`, without a look."""
        return self._watched.finished(self.index)

    def running(self) -> bool:
        """Whether it runs now. Asks the scheduler."""
        return self.status().state is JobState.RUNNING

    def cancelled(self) -> bool:
        """Whether it was cancelled before it had a result."""
        if self._watched.has_outcome(self.index):
            outcome = self._outcome()
            return outcome is not None and JobState.of(outcome) is JobState.CANCELLED
        ending = self._watched.ending(self.index)
        return ending is not None and ending.state is JobState.CANCELLED

    def cancel(self, *, children: bool = True) -> bool:
        """Ask the scheduler to end it; False if it has ended already. Its future ends as JobCancelled soon after.

        What a workflow has submitted ends too, also if the workflow has ended already, unless not `children`.
        """
        from slurm.jobs.cancel import cancel  # noqa: PLC0415 - it cancels jobs, so it stands above this module

        ended = self.done()
        if not ended or self._watched.workflow:
            cancel([self], children=children)
        return not ended

    def retry(self, **options: Unpack[TaskOptions]) -> Job[R]:
        """Submit the same call once more, as a new job; options given here go over those it had.

        This job and what became of it stay as they are.
        """
        from slurm.jobs.submit import again  # noqa: PLC0415 - it makes jobs, so it stands above this module

        return again(self._backend, self._watched.key, [self.index], Options.parse(options))[0]

    def add_done_callback(self, callback: Callable[[Job[R]], object]) -> None:
        """Call `callback(job)` once it has ended, from a background thread; at once if it has. Errors are logged."""
        if self._watched.finished(self.index):
            callback(self)
        else:
            context = contextvars.copy_context()  # the active cluster is that of whoever asked
            self._tell(lambda: dispatch(lambda: context.run(callback, self)))

    def __await__(self) -> Generator[Any, None, R]:
        """`await job` is its result; the event loop goes on meanwhile."""
        from asyncio import CancelledError  # noqa: PLC0415 - only who awaits has it

        from slurm.jobs.awaiting import awaited  # noqa: PLC0415 - the same

        try:
            error = yield from awaited(self._tell, self.exception)
        except CancelledError:
            raise CancelledError(self._come_back()) from None
        if error is not None:
            raise error
        return self.result()

    # What else there is to know.

    def status(self) -> JobStatus:
        """How far it is, as its outcome tells, or else the scheduler."""
        return statuses([self.part])[0][0]

    def children(self) -> list[Job[Any] | JobArray[Any]]:
        """What it has submitted so far, if it is a workflow, in order. Reads their records, in three round trips."""
        from slurm.jobs.array import children  # noqa: PLC0415 - it makes arrays, so it stands above this module

        return children(self._backend, self._watched.key, self.index)

    def logs(self, rank: int = 0) -> str:
        """What the task, and the script around it, have printed so far; of several ranks, what this one has."""
        (text,) = self._backend.store.logs([self._backend.log_path(self._watched, self.index, whole(rank, "rank"))])
        return text

    @property
    def log_path(self) -> str:
        """The path of its log, there."""
        return self._backend.log_path(self._watched, self.index)

    @property
    def directory(self) -> str:
        """The path of the submission's directory, there."""
        return self._backend.store.directory(self._watched.key)

    def __repr__(self) -> str:
        return f"<Job {self.key} id {self.job_id} on {self._backend.url}: {self._watched.word(self.index)}>"

    def _repr_html_(self) -> str:
        from slurm.views.notebook import job_html  # noqa: PLC0415 - only notebooks have it

        return job_html(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and (self._watched, self.index) == (other._watched, other.index)

    def __hash__(self) -> int:
        return hash((self._watched.key, self.index))

    def _tell(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have `callback` called once it has ended; returns what takes that back."""
        tracker, watched, index = self._backend.tracker, self._watched, self.index
        tracker.when_finished(watched, index, callback)
        return lambda: tracker.forget(watched, index, callback)

    def _wait(self, timeout: float | None) -> None:
        try:
            ended = self._backend.tracker.wait(self._watched, [self.index], timeout)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._come_back()) from None
        if not ended:
            raise TimeoutError(f"job {self.key} has not ended after {timeout} s. {self._come_back()}")

    def _come_back(self) -> str:
        return f"The job goes on; come back to it with Cluster({str(self._backend.url)!r}).job({self.key!r})"

    def _outcome(self) -> Outcome | None:
        found = self._backend.store.outcomes(self._watched.key, [self.index], chunk=self._watched.chunk)
        return found.get(self.index)


def as_they_end(jobs: Collection[Job[R]], timeout: float | None) -> Iterator[Job[R]]:
    """Each job as it ends, on whatever cluster it is. TimeoutError if not all have ended after `timeout` seconds."""
    timeout = seconds_to_wait(timeout)
    end = None if timeout is None else time.monotonic() + timeout
    ended: queue.SimpleQueue[Job[R]] = queue.SimpleQueue()
    take_back = [job._tell(partial(ended.put, job)) for job in jobs]  # noqa: SLF001 - this module's own
    try:
        for left in range(len(jobs), 0, -1):
            try:
                yield ended.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"{left} of {len(jobs)} jobs have not ended after {timeout} s; they go on") from None
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"{left} of {len(jobs)} jobs have not ended; they go on") from None
    finally:
        for forget in take_back:
            forget()
