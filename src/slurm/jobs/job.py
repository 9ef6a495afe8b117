"""Job and JobArray: one call on a cluster, as a future, and the calls of one submission, as a sequence."""

from __future__ import annotations

import contextvars
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, overload

from slurm.errors import ProtocolError, ResultNotLoaded, TransportError
from slurm.jobs.cancel import cancel
from slurm.jobs.completion import as_they_end, when_all_finish
from slurm.jobs.handle import value_of
from slurm.jobs.job_item import WithItems
from slurm.jobs.job_logs import ArrayLogs, JobLogs
from slurm.jobs.listing import Listing
from slurm.jobs.operators import position
from slurm.jobs.table import ArrayTable, JobArguments
from slurm.notifications.dispatcher import call_here, dispatch
from slurm.places.place import place_for
from slurm.protocol.states import JobState
from slurm.serialization.pickling import Reference
from slurm.submission.submission_state import SubmissionState
from slurm.tracebacks import ends_at_the_caller
from slurm.tracking.workflow_journal import several_children
from slurm.views.overview import overviews
from slurm.views.status import Part, in_chunks, statuses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping

    from typing_extensions import Unpack

    from slurm.options.types import TaskOptions
    from slurm.places.place import Place
    from slurm.submission.status import JobStatus

R = TypeVar("R", covariant=True)

_UNSET: Any = object()


class Job(WithItems, JobArguments, JobLogs, Generic[R]):
    """One call on a cluster. It is like a `concurrent.futures.Future`, can be awaited, and outlives its process.

    Attributes do no I/O; methods may. Passed as an argument to another task, at any depth, it stands for its result,
    and `job["loss"]` for an item of it.
    A pickled job, or `cluster.job(key)`, is the same job in another process.
    """

    __slots__ = ("__weakref__", "_error", "_result", "index")

    def __init__(self, place: Place, watched: SubmissionState, index: int) -> None:
        super().__init__(place, watched)
        self._result = _UNSET
        self._error: BaseException | None = None
        self.index = index

    @property
    def key(self) -> str:
        """The name that opens the job as `cluster.job(key)`: the submission's key, with [index] in a map."""
        return self._watched.name(self.index)

    @property
    def job_id(self) -> str | None:
        """The scheduler's id, such as "1234_0"; None if it never got one."""
        return self._watched.job_id(self.index)

    @property
    def reference(self) -> Reference:
        """Stands for its result in the arguments of other calls."""
        return Reference("job", self._watched.key, self.index, self._watched.chunk, self._url)

    @property
    def part(self) -> Part:
        """The call as a part of its submission."""
        return Part(self._place, self._watched, (self.index,))

    def result(self, timeout: float | None = None) -> R:
        """Wait for the result and return it.

        Raises what the task raised, with the node's traceback as its cause; a JobError if the job failed in another
        way; TimeoutError if the job has not ended after `timeout` seconds (the job continues).
        """
        error = self.exception(timeout)
        if error is not None:
            raise error.with_traceback(None)  # it may have been raised before; its traceback would keep those frames
        result: R = self._result
        return result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end, and return the exception that `result()` would raise, or None for a success.

        Returns the same object each time, unless the outcome or result could not be read or loaded: then tries again.
        """
        if self._result is _UNSET and self._error is None:
            self._wait([self.index], timeout)
            result, error = self._read([self.index]).of(self.index)
            if error is None:
                self._result = result
            elif isinstance(error, (TransportError, ProtocolError, ResultNotLoaded)):
                return error
            self._error = error
        return self._error

    def done(self) -> bool:
        """Whether the job has ended: with a result, with an error, or cancelled."""
        return self._look([self.index])

    @property
    def known_to_have_ended(self) -> bool:
        """Whether this process already knows that the job has ended. Unlike `done()`, does no I/O."""
        return self._watched.finished(self.index)

    def running(self) -> bool:
        """Whether the job runs now. Queries the scheduler."""
        return self.status().state is JobState.RUNNING

    def cancelled(self) -> bool:
        """Whether the job was cancelled before it had a result."""
        if self._watched.has_outcome(self.index):
            outcome = self._outcomes([self.index]).get(self.index)
            return outcome is not None and JobState.of(outcome) is JobState.CANCELLED
        final = self._watched.final_status(self.index)
        return final is not None and final.state is JobState.CANCELLED

    def cancel(self, *, children: bool = True) -> bool:
        """Ask the scheduler to end the job; False if it has ended in another way. It ends as JobCancelled soon after.

        With `children`, the jobs that a workflow has submitted end, too, even if the workflow has ended already.
        """
        ended = self.done()
        taken = not ended or self.cancelled()
        if taken or self._watched.workflow:
            cancel([self.part], children=children)
        return taken

    def retry(self, **options: Unpack[TaskOptions]) -> Job[R]:
        """Submit the same call again, as a new job. These options override those of this job, which stays unchanged."""
        return Job(self._place, self._resubmit([self.index], options), 0)

    def latest(self) -> Job[R]:
        """The last retry of this call, by any process, or this job. Takes two commands."""
        from slurm.jobs.latest import latest_job  # noqa: PLC0415 - it imports this module

        return latest_job(self)

    def add_done_callback(self, callback: Callable[[Job[R]], object]) -> None:
        """Call `callback(job)` once the job has ended, from a background thread; at once if it has. Logs errors."""
        if self._watched.finished(self.index):
            call_here(lambda: callback(self))
        else:
            context = contextvars.copy_context()  # the active cluster is the caller's
            self.when_finished(lambda: dispatch(lambda: context.run(callback, self)))

    def __await__(self) -> Generator[Any, None, R]:
        """`await job` returns its result. The event loop runs meanwhile."""
        from slurm.jobs.awaiting import awaited  # noqa: PLC0415 - asyncio is slow to import

        error = yield from awaited(self.when_finished, self.exception, partial(self._come_back, [self.index]))
        if error is not None:
            raise error.with_traceback(None)  # as in `result`
        return self.result()

    def status(self) -> JobStatus:
        """The status of the job, from its outcome, or else from the scheduler."""
        return statuses([self.part])[0][0]

    def metrics(self, timeout: float | None = None) -> dict[str, float]:
        """Wait for the end, and return the numbers of a task with the option `metrics`, even if the call failed."""
        return self._metrics([self.index], timeout)[0]

    def children(self) -> list[Job[Any] | JobArray[Any]]:
        """The jobs that this job has submitted so far, in order, if it is a workflow. Takes three round trips."""
        store, registry, key = self._place.store, self._place.registry, self._watched.key
        (found,) = several_children(store, self._place.transport, {key: [self.index]}).values()
        return Listing(handle(self._place, watched) for watched in registry.get_several([child.key for child in found]))

    @property
    def log_path(self) -> str:
        """The path of the job's log on the cluster."""
        return self._place.log_path(self._watched, self.index)

    def __repr__(self) -> str:
        of = f" of {self._watched.functions.of(self.index)}" if self._watched.functions else ""
        return f"<Job {self.key}{of} id {self.job_id} on {self._url}: {self._watched.state_name(self.index)}>"

    def _repr_html_(self) -> str:
        from slurm.views.notebook import job_html  # noqa: PLC0415 - only notebooks have it

        return job_html(self.part)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and (self._watched, self.index) == (other._watched, other.index)

    def __hash__(self) -> int:
        return hash((self._watched.key, self.index))

    def when_finished(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` once the job has ended, in a thread that must not block. Returns a function to remove it."""
        tracker, watched, index = self._place.tracker, self._watched, self.index
        tracker.when_finished(watched, index, callback)
        return lambda: watched.remove_callback(index, callback)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._watched.opener or open_job, (self._place.spec._asdict(), self._watched.key, self.index)


class JobArray(ArrayTable, ArrayLogs, Generic[R]):
    """The jobs of one `map`, or a slice of them: a sequence of Job.

    Passed as an argument to another task, it stands for the list of its results. Iterated over in a `map`, each job
    stands for its own result.
    """

    __slots__ = ("_range",)

    is_array: ClassVar[Literal[True]] = True

    def __init__(self, place: Place, watched: SubmissionState, indices: range) -> None:
        super().__init__(place, watched)
        self._range = indices

    @property
    def key(self) -> str:
        """The submission's key, which `cluster.job(key)` takes."""
        return self._watched.key

    @property
    def reference(self) -> Reference:
        """The reference that stands for the results in the arguments of other calls."""
        which = (self._range.start, self._range.stop, self._range.step)
        return Reference("array", self.key, which, self._watched.chunk, self._url)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its submissions: several if a map has found calls in earlier submissions (`reuse`)."""
        return (self.key,)

    @property
    def part(self) -> Part:
        """The calls as a part of their submission."""
        return Part(self._place, self._watched, self._range)

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, at: int) -> Job[R]: ...
    @overload
    def __getitem__(self, at: slice) -> JobArray[R]: ...
    @ends_at_the_caller
    def __getitem__(self, at: int | slice) -> Job[R] | JobArray[R]:
        if isinstance(at, slice):
            return JobArray(self._place, self._watched, self._range[at])
        return Job(self._place, self._watched, self._range[position(at, len(self), self.key)])

    def __iter__(self) -> Iterator[Job[R]]:
        return (Job(self._place, self._watched, index) for index in self._range)

    def __contains__(self, job: object) -> bool:
        return isinstance(job, Job) and job.reference.key == self.key and job.index in self._range

    @overload
    def results(self, timeout: float | None = ..., *, return_exceptions: Literal[False] = ...) -> list[R]: ...
    @overload
    def results(self, timeout: float | None = ..., *, return_exceptions: bool) -> list[R | BaseException]: ...
    def results(self, timeout: float | None = None, *, return_exceptions: bool = False) -> list[Any]:
        """Wait for all calls, and return their results, read together, in order.

        Raises the first exception, in order, once all have ended. With `return_exceptions`, puts exceptions in place of
        results instead. Raises TimeoutError after `timeout` seconds; the jobs continue.
        """
        self._wait(self._range, timeout)
        found, error = self._read_all(self._range, return_exceptions=return_exceptions)
        if error is not None:
            raise error
        return found

    def iter_results(self, timeout: float | None = None) -> Iterator[R]:
        """Yield the results in order, each as soon as it and all before it are available; several are read together.

        Raises the exception of a call in place of its result, and TimeoutError `timeout` seconds after the first result
        is requested; the jobs continue.
        """
        return map(value_of, self._in_order(self._range, timeout))

    def __await__(self) -> Generator[Any, None, list[R]]:
        """`await array` returns the list of its results. The event loop runs meanwhile."""
        from slurm.jobs.awaiting import awaited  # noqa: PLC0415 - asyncio is slow to import

        read, come_back = partial(self._read_all, self._range), partial(self._come_back, self._range)
        found, error = yield from awaited(partial(when_all_finish, self), read, come_back)
        if error is not None:
            raise error
        return found

    def __aiter__(self) -> AsyncIterator[Job[R]]:
        """`async for job in array` yields the jobs, each as it ends."""
        from slurm.jobs.awaiting import each_as_it_ends  # noqa: PLC0415 - as above

        return each_as_it_ends(self)

    def exceptions(self, timeout: float | None = None) -> list[BaseException | None]:
        """Wait for all calls, and return for each the exception that `result()` would raise, or None."""
        return [
            item if isinstance(item, BaseException) else None for item in self.results(timeout, return_exceptions=True)
        ]

    def as_completed(self, timeout: float | None = None) -> Iterator[Job[R]]:
        """Yield the jobs, each as it ends. Raises TimeoutError if not all have ended `timeout` seconds from now."""
        return as_they_end(self, timeout)

    def done(self) -> bool:
        """Whether all calls have ended."""
        return self._look(self._range)

    def cancel(self, *, children: bool = True) -> None:
        """Ask the scheduler to end unfinished calls, and the jobs that workflows have submitted, by one command."""
        cancel([self.part], children=children)

    def failed(self, timeout: float | None = None) -> list[Job[R]]:
        """Wait for all calls, and return the jobs that ended without a result."""
        self._wait(self._range, timeout)
        outcomes = self._outcomes(self._range)
        return [job for job in self if job.index not in outcomes or not outcomes[job.index].succeeded]

    def retry_failed(self, timeout: float | None = None, **options: Unpack[TaskOptions]) -> JobArray[R]:
        """Wait for all calls, then submit the failed calls again, as a new array; empty if none has failed.

        Options given here override the options that the calls had. This array and its results stay unchanged.
        """
        indices = [job.index for job in self.failed(timeout)]
        if not indices:
            return self[:0]
        return JobArray(self._place, self._resubmit(indices, options), range(len(indices)))

    def metrics(self, timeout: float | None = None) -> list[dict[str, float]]:
        """Wait for all calls, and return `Job.metrics` of each, in order, read together."""
        return self._metrics(self._range, timeout)

    def latest(self) -> JobArray[R]:
        """The last retry of each call, by any process, in order, as one array. Takes two commands."""
        from slurm.jobs.latest import latest_array  # noqa: PLC0415 - as above

        return latest_array(self)

    def states(self) -> Counter[JobState]:
        """How many calls are in each state. Queries the scheduler about unfinished calls, reads outcomes of others."""
        return overviews([self.part])[0].states

    def summary(self) -> str:
        """One line such as "square: 1000 jobs, 3 RUNNING, 997 COMPLETED"."""
        states = self.states()
        counts = ", ".join(f"{states[state]} {state}" for state in JobState if states[state])
        name = self.keys[0].partition("/")[0]
        return f"{name}: {len(self)} jobs{in_chunks(self.parts)}{', ' if counts else ''}{counts}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobArray) and (self._watched, self._range) == (other._watched, other._range)

    def __hash__(self) -> int:
        return hash((self.key, self._range))

    def __repr__(self) -> str:
        words = Counter(map(self._watched.state_name, self._range))
        if self._watched.summary and len(self) == self._watched.count:
            words = Counter(self._watched.summary.states)
        states = ", ".join(f"{count} {word}" for word, count in words.items())
        chunks, colon = in_chunks(self.parts), ": " if states else ""
        return f"<JobArray {self.key} of {len(self)}{chunks} on {self._url}{colon}{states}>"

    def _repr_html_(self) -> str:
        from slurm.views.notebook import array_html  # noqa: PLC0415 - only notebooks have it

        return array_html(self.part)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._watched.opener or open_job, (self._place.spec._asdict(), self.key, self._range)


def handle(place: Place, watched: SubmissionState) -> Job[Any] | JobArray[Any]:
    """Return all calls of a submission: a JobArray for a map of any size, else a Job."""
    return JobArray(place, watched, range(watched.count)) if watched.mapped else Job(place, watched, 0)


def open_job(cluster: Mapping[str, Any], key: str, part: int | range) -> Job[Any] | JobArray[Any]:
    """Open a job, or several jobs of a map, in any process. Reads the records of the submission.

    Pickled jobs and arrays name this function as `slurm.open_job`, so its name and parameters must never change.
    `cluster` holds arguments of `Cluster`: `url`, and `python`, `setup`, `login_shell` if they were given. `part` is
    the index of one call, or a range of indices, for which it returns a JobArray. Raises NoSuchJob.
    """
    place = place_for(**cluster)
    if isinstance(part, int):
        return Job(place, place.registry.get(key), part)
    return JobArray(place, place.registry.get(key) if part else SubmissionState(key, 0, None, mapped=True), part)


open_job.__module__ = "slurm"
