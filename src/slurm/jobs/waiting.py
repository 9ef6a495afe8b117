"""`wait`, `as_completed` and `gather`, over jobs, arrays, or a mix of both."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, overload

from slurm.jobs.cancel import cancel as _cancel
from slurm.jobs.completion import as_they_end
from slurm.jobs.job import Job, JobArray
from slurm.serialization.pickling import Placeholder

if TYPE_CHECKING:
    from collections.abc import Iterator

R = TypeVar("R")

Until = Literal["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"]

FIRST_COMPLETED: Until = "FIRST_COMPLETED"
FIRST_EXCEPTION: Until = "FIRST_EXCEPTION"
ALL_COMPLETED: Until = "ALL_COMPLETED"


class DoneAndNotDone(NamedTuple):
    """The result of `wait`."""

    done: set[Job[Any]]
    not_done: set[Job[Any]]


Jobs = Placeholder | Iterable[Placeholder | Iterable[Placeholder]]
"""A job, an array, or any mix of them in any iterable."""


def wait(
    jobs: Jobs,
    timeout: float | None = None,
    return_when: Until = ALL_COMPLETED,
) -> DoneAndNotDone:
    """Wait as `concurrent.futures.wait` does; `timeout` in seconds. Jobs may be on several clusters."""
    every = set(flat(jobs))
    done: set[Job[Any]] = set()
    try:
        for job in as_they_end(every, timeout):
            done.add(job)
            if return_when == FIRST_COMPLETED or (return_when == FIRST_EXCEPTION and job.exception() is not None):
                done |= {other for other in every if other.known_to_have_ended}
                break
    except TimeoutError:
        pass  # `not_done` reports it
    return DoneAndNotDone(done, every - done)


@overload
def as_completed(
    jobs: Job[R] | Iterable[Job[R]] | Iterable[Iterable[Job[R]]], timeout: float | None = ...
) -> Iterator[Job[R]]: ...
@overload
def as_completed(jobs: Jobs, timeout: float | None = ...) -> Iterator[Job[Any]]: ...
def as_completed(jobs: Any, timeout: float | None = None) -> Iterator[Job[Any]]:
    """Yield the jobs, each as it ends.

    Raises TimeoutError if not all have ended `timeout` seconds after the first is requested.
    """
    return as_they_end(set(flat(jobs)), timeout)


@overload
def gather(*jobs: Job[R] | Iterable[Job[R]], return_exceptions: Literal[False] = ...) -> list[R]: ...
@overload
def gather(*jobs: Job[R] | Iterable[Job[R]], return_exceptions: bool) -> list[R | BaseException]: ...
@overload
def gather(*jobs: Jobs, return_exceptions: bool = ...) -> list[Any]: ...
def gather(*jobs: Any, return_exceptions: bool = False) -> list[Any]:
    """Wait for all jobs and arrays, and return their results, flat and in order.

    Raises the first exception, in order, once all have ended, unless `return_exceptions`.
    """
    jobs = tuple(_kept(item) for item in jobs)
    wait(jobs)
    results: list[Any] = []
    for item in jobs:
        if isinstance(item, JobArray):
            results += item.results(return_exceptions=return_exceptions)  # an array's results are read in one go
        else:
            results += [_result(job, return_exceptions=return_exceptions) for job in flat(item)]
    return results


def _result(job: Job[Any], *, return_exceptions: bool) -> Any:
    error = job.exception() if return_exceptions else None
    return job.result() if error is None else error


def cancel(*jobs: Jobs, children: bool = True) -> None:
    """Ask the scheduler to end the unfinished jobs and arrays, by one command for each cluster.

    With `children`, the jobs that workflows among them have submitted end, too. If a map that reuses results has found
    some of its calls running, these continue, as with its `cancel()`.
    """
    _cancel([part for item in _items(jobs) for part in item.own_parts], children=children)


def _kept(jobs: Any) -> Any:
    """Return jobs that can be iterated twice: those of a generator as a list."""
    return jobs if isinstance(jobs, (Job, JobArray)) else list(flat(jobs))


def flat(jobs: Any) -> Iterator[Job[Any]]:
    """Yield the jobs among jobs, arrays, and mixes of them. Raises TypeError for anything else."""
    for item in _items(jobs):
        if isinstance(item, Job):
            yield item
        else:
            yield from item


def _items(jobs: Any) -> Iterator[Job[Any] | JobArray[Any]]:
    """Yield the jobs and arrays in a mix of them. Raises TypeError for anything else."""
    if isinstance(jobs, (Job, JobArray)):
        yield jobs
    elif isinstance(jobs, Iterable) and not isinstance(jobs, (str, bytes)):
        for item in jobs:
            yield from _items(item)
    else:
        advice = ": concurrent.futures waits for futures" if isinstance(jobs, Future) else ""
        raise TypeError(f"expected jobs and arrays, not {jobs!r}{advice}")
