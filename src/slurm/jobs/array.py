"""JobArray: the jobs of one submission, as a sequence."""

from __future__ import annotations

import copyreg
from collections import Counter
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from slurm.jobs.cancel import cancel
from slurm.jobs.job import Job, as_they_end
from slurm.options import Options
from slurm.places.place import backend_for
from slurm.protocol.states import JobState
from slurm.sanitize.numbers import whole
from slurm.serialization import Placeholder, Reference
from slurm.submission.submission_state import SubmissionState
from slurm.tracking.result_reader import ResultReader
from slurm.tracking.workflow_journal import several_children
from slurm.views.listing import Listing
from slurm.views.status import Part, statuses

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from typing_extensions import Unpack

    from slurm.options.types import TaskOptions
    from slurm.places.place import Backend

R = TypeVar("R", covariant=True)


class JobArray(Placeholder, Generic[R]):
    """The jobs of one `map`, or a slice of them: a sequence of Job.

    Passed as an argument to another task, it stands for the list of its results; iterated over in a `map`, each element
    stands for its own.
    """

    __slots__ = ("_backend", "_range", "_watched")

    def __init__(self, backend: Backend, watched: SubmissionState, indices: range) -> None:
        self._backend = backend
        self._watched = watched
        self._range = indices

    @property
    def key(self) -> str:
        """The submission's key, which `cluster.job(key)` takes."""
        return self._watched.key

    @property
    def directory(self) -> str:
        """The path of the submission's directory, there."""
        return self._backend.store.directory(self.key)

    @property
    def reference(self) -> Reference:
        """What stands for its results in the arguments of other calls."""
        which = (self._range.start, self._range.stop, self._range.step)
        return Reference("array", self.key, which, self._watched.chunk, str(self._backend.url))

    @property
    def part(self) -> Part:
        """It as a part of its submission."""
        return Part(self._backend, self._watched, self._range)

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, at: int) -> Job[R]: ...
    @overload
    def __getitem__(self, at: slice) -> JobArray[R]: ...
    def __getitem__(self, at: int | slice) -> Job[R] | JobArray[R]:
        if isinstance(at, slice):
            return JobArray(self._backend, self._watched, self._range[at])
        if not -len(self) <= at < len(self):
            message = f"{self.key} has {len(self)} jobs, so there is no [{at}]"
            raise IndexError(message)
        return Job(self._backend, self._watched, self._range[at])

    def __iter__(self) -> Iterator[Job[R]]:
        return (Job(self._backend, self._watched, index) for index in self._range)

    def __contains__(self, job: object) -> bool:
        return isinstance(job, Job) and job.reference.key == self.key and job.index in self._range

    @overload
    def results(self, timeout: float | None = ..., *, return_exceptions: Literal[False] = ...) -> list[R]: ...
    @overload
    def results(self, timeout: float | None = ..., *, return_exceptions: bool) -> list[R | BaseException]: ...
    def results(self, timeout: float | None = None, *, return_exceptions: bool = False) -> list[Any]:
        """Wait for all and return their results in order, read in one go.

        The first exception, in order, is raised once all have ended, unless `return_exceptions`, which puts exceptions
        where their results would be. TimeoutError after `timeout` seconds; the jobs go on.
        """
        self._wait(timeout)
        findings = ResultReader(
            self._backend.store, self._backend.tracker, self._watched, self._range, logs=return_exceptions
        )
        found: list[Any] = []
        for index in self._range:
            result, error = findings.of(index)
            if error is not None and not return_exceptions:
                raise error
            found.append(result if error is None else error)
        return found

    def exceptions(self, timeout: float | None = None) -> list[BaseException | None]:
        """Wait for all; for each, the exception that `result()` would raise, or None."""
        return [
            item if isinstance(item, BaseException) else None for item in self.results(timeout, return_exceptions=True)
        ]

    def as_completed(self, timeout: float | None = None) -> Iterator[Job[R]]:
        """The jobs, each as it ends. TimeoutError if not all have ended `timeout` seconds from now."""
        return as_they_end(self, timeout)

    def done(self) -> bool:
        """Whether all have ended."""
        return all(self._ended())

    def cancel(self, *, children: bool = True) -> None:
        """Ask the scheduler to end those that have not ended, and what workflows have submitted, by one command."""
        cancel(self, children=children)

    def failed(self, timeout: float | None = None) -> list[Job[R]]:
        """Wait for all; the jobs that ended without a result."""
        self._wait(timeout)
        outcomes = self._backend.store.outcomes(self.key, self._range, chunk=self._watched.chunk)
        return [job for job in self if job.index not in outcomes or not outcomes[job.index].succeeded]

    def retry_failed(self, timeout: float | None = None, **options: Unpack[TaskOptions]) -> JobArray[R]:
        """Wait for all, then submit the calls that failed once more, as a new array; empty if none has.

        Options given here go over those they had. This array and what became of it stay as they are.
        """
        from slurm.jobs.submit import again  # noqa: PLC0415 - it makes arrays, so it stands above this module

        indices = [job.index for job in self.failed(timeout)]
        if not indices:
            return self[:0]
        return again(self._backend, self.key, indices, Options.parse(options))

    def states(self) -> Counter[JobState]:
        """How many are in each state. Asks the scheduler if some have not ended; reads the outcomes of the others."""
        return Counter(status.state for status in statuses([self.part])[0])

    def summary(self) -> str:
        """One line: "square: 1000 jobs, 3 RUNNING, 997 COMPLETED"."""
        states = self.states()
        counts = ", ".join(f"{states[state]} {state}" for state in JobState if states[state])
        return f"{self.key.partition('/')[0]}: {len(self)} jobs{', ' if counts else ''}{counts}"

    def logs(self, rank: int = 0) -> list[str]:
        """What each has printed so far, in order, read in one go; of several ranks, what this one has."""
        whole(rank, "rank")
        paths = [self._backend.log_path(self._watched, index, rank) for index in self._range]
        return self._backend.store.logs(paths)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobArray) and (self._watched, self._range) == (other._watched, other._range)

    def __hash__(self) -> int:
        return hash((self.key, self._range))

    def __repr__(self) -> str:
        words = Counter(map(self._watched.word, self._range))
        states = ", ".join(f"{count} {word}" for word, count in words.items())
        return f"<JobArray {self.key} of {len(self)} on {self._backend.url}{': ' if states else ''}{states}>"

    def _repr_html_(self) -> str:
        from slurm.views.notebook import array_html  # noqa: PLC0415 - only notebooks have it

        return array_html(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_job, (self._backend.spec._asdict(), self.key, self._range)

    def _ended(self) -> Iterator[bool]:
        if len(self) and not all(map(self._watched.finished, self._range)):
            self._backend.tracker.look([self._watched])
        return map(self._watched.finished, self._range)

    def _wait(self, timeout: float | None) -> None:
        if len(self) == 0:
            return
        try:
            ended = self._backend.tracker.wait(self._watched, self._range, timeout)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._come_back()) from None
        if not ended:
            left = len(self) - sum(self._watched.finished(index) for index in self._range)
            message = f"{left} of {len(self)} jobs of {self.key} have not ended after {timeout} s. {self._come_back()}"
            raise TimeoutError(message)

    def _come_back(self) -> str:
        return f"The jobs go on; come back to them with Cluster({str(self._backend.url)!r}).job({self.key!r})"


def handle(backend: Backend, watched: SubmissionState) -> Job[Any] | JobArray[Any]:
    """All of a submission: an array for a map, of however many, else a job."""
    return JobArray(backend, watched, range(watched.count)) if watched.mapped else Job(backend, watched, 0)


def calls_of(jobs: Iterable[Job[Any] | JobArray[Any]]) -> dict[str, set[int]]:
    """Which calls of which submissions jobs and arrays are."""
    found: dict[str, set[int]] = {}
    for job in jobs:
        found.setdefault(job.reference.key, set()).update(job.reference.indices)
    return found


def children(backend: Backend, key: str, index: int) -> Listing:
    """What one call of a workflow has submitted, in order, of what has a record yet."""
    (found,) = several_children(backend.store, backend.transport, {key: [index]}).values()
    return Listing(handle(backend, watched) for watched in backend.watch_several([child.key for child in found]))


def open_job(cluster: Mapping[str, Any], key: str, part: int | range) -> Job[Any] | JobArray[Any]:
    """Open a job, or several jobs of a map, in any process. Reads the records of the submission.

    Pickled jobs and arrays name this function as `slurm.open_job`, so it neither moves nor changes its parameters.
    `cluster` holds arguments of `Cluster`: `url`, and `python`, `setup`, `login_shell` where they were given. `part` is
    the index of one call, or a range of indices, which gives a JobArray. Raises NoSuchJob.
    """
    backend = backend_for(**cluster)
    if isinstance(part, int):
        return Job(backend, backend.watch(key), part)
    return JobArray(backend, backend.watch(key) if part else SubmissionState(key, 0, None, mapped=True), part)


def _reduced(job: Job[Any]) -> tuple[Any, ...]:
    return open_job, (job._backend.spec._asdict(), job.reference.key, job.index)  # noqa: SLF001 - of this package


open_job.__module__ = "slurm"
# Here and not in Job, because a job knows nothing of arrays.
copyreg.pickle(Job, _reduced)
