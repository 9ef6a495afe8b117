"""Batch: the calls in a `with cluster.batch()` block, of one or several tasks, as one submission."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from slurm.errors import OptionError, SubmissionError
from slurm.jobs.chunking import AUTO
from slurm.jobs.job import Job, JobArray
from slurm.jobs.launching import is_command
from slurm.jobs.pieces import JoinedArray, pieces_of
from slurm.jobs.submit import Batched
from slurm.storage.keys import name_of_batch, new_key
from slurm.submission.submission_state import SubmissionState
from slurm.tasks import active
from slurm.tracebacks import ends_at_the_caller

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from slurm.clusters.cluster import Cluster
    from slurm.jobs.plan import Plan
    from slurm.serialization.pickling import Arguments
    from slurm.tasks.settings import Settings
    from slurm.tasks.task import Task

R = TypeVar("R")

_MOST_CHARACTERS = 200
"""The longest name of a batch, which is also the name of a directory, with at most 255 characters."""


class Batch:
    """A `with` block that collects calls, and submits them at its end as one array. Made by `cluster.batch()`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._tasks: list[Task[..., Any]] = []
        self._numbers: dict[tuple[type, int], int] = {}  # of tasks, by their functions
        self._calls: list[Arguments] = []
        self._of_calls: list[int] = []
        self._pending: list[tuple[_Pending, range]] = []
        self.why = "not submitted yet: leave the `with cluster.batch()` block first"
        self._entered = False
        self._jobs: JobArray[Any] | None = None

    @property
    def jobs(self) -> JobArray[Any]:
        """The jobs of all calls, in order. Raises SubmissionError before the end of the block."""
        if self._jobs is None:
            raise self.refusal("its jobs are")
        return self._jobs

    def __enter__(self) -> Self:
        if self._entered:
            raise OptionError("a batch is one `with` block: call cluster.batch() for another one")
        self._entered = True
        active.active.set((*active.active.get(), self.cluster))
        active.batches.set((*active.batches.get(), self))
        return self

    @ends_at_the_caller
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Submit the calls, unless the block raised an error. Raises what a call raises; then nothing runs."""
        active.active.set(active.active.get()[:-1])
        active.batches.set(tuple(batch for batch in active.batches.get() if batch is not self))
        if kind is not None:
            self.why = f"not submitted: the `with cluster.batch()` block raised {kind.__name__}"
            return
        self.why = "not submitted: the `with cluster.batch()` block ended with an error"
        self._jobs = self._submitted()
        for handle, calls in self._pending:
            handle.fill(self._jobs, calls)
        self._pending.clear()

    def refusal(self, what: str) -> SubmissionError:
        """Return the error for a question about calls that are not submitted yet."""
        return SubmissionError(f"{what} {self.why}")

    def add(self, of: Task[..., Any], calls: Iterable[Arguments], *, mapped: bool) -> Any:
        """Collect calls of a task, and return the jobs that they will have. Raises OptionError, SubmissionError."""
        if self._tasks:
            self._check(of)
        new = list(calls)  # all or none: the block may continue after an error
        for args, kwargs in new:
            self._refuse_own_jobs(of, (*args, *kwargs.values()))
        number = self._numbers.setdefault((type(of), id(of.unwrapped)), len(self._numbers))
        if number == len(self._tasks):
            self._tasks.append(of)
        found = range(len(self._calls), len(self._calls) + len(new))
        self._calls += new
        self._of_calls += [number] * len(new)
        if not mapped:
            job = PendingJob.before(self, of.name)
            self._pending.append((job, found))
            return [job]
        options = self._settings(of).options
        kind = PendingJoinedArray if options.get("reuse") or options.get("chunk_size") == AUTO else PendingArray
        array = kind.before(self, of.name)
        self._pending.append((array, found))
        return array

    def _settings(self, of: Task[..., Any]) -> Settings:
        return self.cluster.settings.merged(of.terms)

    def _check(self, of: Task[..., Any]) -> None:
        """Raise OptionError if a task differs from the first: in options, environment, callbacks, upstreams or kind."""
        first = self._tasks[0]
        one, other = self._settings(first), self._settings(of)
        before, after = one.options.to_json(), other.options.to_json()
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        found = [(_shown(name, before), _shown(name, after)) for name in names]
        if repr(one.environment or ()) != repr(other.environment or ()):
            found.append((f"environment={one.environment!r}", f"environment={other.environment!r}"))
        if one.callbacks != other.callbacks:
            found.append((f"callbacks={list(one.callbacks)}", f"callbacks={list(other.callbacks)}"))
        if first.upstreams != of.upstreams:
            found.append((f"after {_waits_for(first)}", f"after {_waits_for(of)}"))
        if first.is_workflow != of.is_workflow:
            kinds = ("a task", "a workflow")
            found.append((kinds[first.is_workflow], kinds[of.is_workflow]))
        if found:
            theirs, ours = (", ".join(side) for side in zip(*found, strict=True))
            raise OptionError(
                f"the calls of a batch are one submission with the same options. {of.name}: {ours}; {first.name} "
                f"before: {theirs}. Give them the same, by with_options, or call {of.name} outside of the block"
            )

    def _refuse_own_jobs(self, of: Task[..., Any], arguments: Iterable[Any]) -> None:
        """Raise SubmissionError for a job of this batch among arguments, or in lists and dicts among them."""
        for job in _pending_in(arguments):
            batch, task = object.__getattribute__(job, "_watched")
            if batch is self:
                raise SubmissionError(
                    f"{of.name} has a job of {task} of the same batch as an argument: the calls of a batch begin "
                    f"together, so none can wait for another. Call {of.name} after the `with cluster.batch()` block"
                )

    def _submitted(self) -> JobArray[Any]:
        cluster = self.cluster
        if not self._tasks:
            return JobArray(cluster.place, SubmissionState(new_key("batch"), 0, None, mapped=True), range(0))
        if len(name := name_of_batch(task.name for task in self._tasks)) > _MOST_CHARACTERS:
            raise OptionError(
                f"the names of the {len(self._tasks)} functions of a batch have {len(name)} characters together, and "
                f"its key can have {_MOST_CHARACTERS}: use several batches"
            )
        if len(self._tasks) == 1:
            return cluster._submit_now(self._tasks[0], self._calls, mapped=True)  # noqa: SLF001 - of this package
        batch = Batched(tuple(self._tasks), tuple(self._of_calls))
        # A function needs an environment with a Python, a command does not.
        leading = next((task for task in self._tasks if not is_command(task)), self._tasks[0])
        return cluster._submit_now(leading, self._calls, mapped=True, batch=batch)  # noqa: SLF001 - of this package


class PastBatches:
    """A cluster whose calls are submitted at once, even in a block: for executors, which have futures."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def submit(self, of: Task[..., Any], calls: Iterable[Arguments], *, mapped: bool) -> JobArray[Any]:
        """Submit bound calls of a task as one submission."""
        return self.cluster._submit_now(of, calls, mapped=mapped)  # noqa: SLF001 - of this package

    def plan_calls(self, of: Task[..., Any], calls: Iterable[Arguments], *, mapped: bool) -> Plan[Any]:
        """Plan bound calls of a task."""
        return self.cluster.plan_calls(of, calls, mapped=mapped)


_ALWAYS = frozenset(("__class__", "is_array", "fill"))


class _Pending:
    """A handle whose calls are not submitted yet. Every use of it raises an error until `fill`."""

    __slots__ = ()

    @classmethod
    def before(cls, batch: Batch, task: str) -> Self:
        handle = cls.__new__(cls)
        object.__setattr__(handle, "_watched", (batch, task))
        return handle

    def fill(self, jobs: JobArray[Any], calls: range) -> None:
        """Become the handle of some of the jobs."""
        raise NotImplementedError

    def __getattribute__(self, name: str) -> Any:
        if name in _ALWAYS:
            return object.__getattribute__(self, name)
        batch, task = object.__getattribute__(self, "_watched")
        raise batch.refusal(f"the call of {task} is")

    def __repr__(self) -> str:
        batch, task = object.__getattribute__(self, "_watched")
        return f"<{type(self).__mro__[2].__name__} of {task}: {batch.why}>"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        batch, task = object.__getattribute__(self, "_watched")
        raise batch.refusal(f"a job has no hash yet, because the call of {task} is")


class PendingJob(_Pending, Job[Any]):
    """A job of a batch before the end of the block. After the end it is a `Job`."""

    __slots__ = ()

    def fill(self, jobs: JobArray[Any], calls: range) -> None:
        """Become a job of the batch."""
        job = jobs[calls.start]
        self.__class__ = Job  # type: ignore[assignment] # with the same slots
        Job.__init__(self, job.part.place, job.part.state, job.index)


class PendingArray(_Pending, JobArray[Any]):
    """The jobs of a map in a batch before the end of the block. After the end it is a `JobArray`."""

    __slots__ = ()

    def fill(self, jobs: JobArray[Any], calls: range) -> None:
        """Become an array of jobs of the batch."""
        part = jobs.part
        self.__class__ = JobArray  # type: ignore[assignment] # as above
        JobArray.__init__(self, part.place, part.state, calls)


class PendingJoinedArray(_Pending, JoinedArray[Any]):
    """Like `PendingArray`, but its calls may be in several submissions (`reuse`, `chunk_size="auto"`)."""

    __slots__ = ()

    def fill(self, jobs: JobArray[Any], calls: range) -> None:
        """Become an array of jobs of the batch."""
        some = jobs[calls.start : calls.stop]
        self.__class__ = JoinedArray  # type: ignore[assignment] # as above
        JoinedArray.__init__(self, jobs.parts[0].place, pieces_of(some))


def _waits_for(task: Task[..., Any]) -> str:
    return ", ".join(str(job if isinstance(job, str) else job.reference.key) for job, _ in task.upstreams) or "no job"


def _shown(name: str, options: Mapping[str, Any]) -> str:
    return f"{name}={options[name]!r}" if name in options else f"no {name}"


def _pending_in(values: Iterable[Any], depth: int = 2) -> Iterator[_Pending]:
    for value in values:
        if isinstance(value, _Pending):
            yield value
        elif depth and type(value) in (list, tuple):
            yield from _pending_in(value, depth - 1)
        elif depth and type(value) is dict:
            yield from _pending_in(value.values(), depth - 1)
