"""ClusterExecutor: an Executor of the standard library, with real Futures, that runs calls on a cluster."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import logging
import sys
import threading
import uuid
from collections import deque
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar, overload

from slurm.errors import OptionError, SlurmError, TransportError
from slurm.jobs import completion, waiting
from slurm.jobs.backlog import Backlog, Entry
from slurm.jobs.chunking import AUTO
from slurm.jobs.future import JobFuture
from slurm.options import Options
from slurm.runner.initializer import Initialized
from slurm.sanitize.numbers import end_of_wait, seconds_until
from slurm.tasks.settings import Settings
from slurm.tasks.task import Task
from slurm.tracebacks import about_the_caller, ends_at_the_caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from slurm.jobs.job import Job, JobArray
    from slurm.serialization.pickling import Placeholder
    from slurm.tasks.active import Submitter

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger(__name__)

_OF_OTHERS = {
    "mp_context": "each call runs in a process of a job; leave it out",
    "max_tasks_per_child": "chunk_size is the number of calls that a process makes; leave it out",
    "thread_name_prefix": "calls run in jobs, not in threads; leave it out",
}
"""Parameters of the standard library's executors that have no meaning here, with what to use instead."""


class _Array(NamedTuple):
    """Calls of a map that are submitted as one array."""

    submitted: Future[JobArray[Any]]
    withdraw: Callable[[], bool]
    """Withdraws the calls if they wait for free slots; returns whether they did."""
    calls: int


class ClusterExecutor(Executor):
    """Runs functions on a cluster: each `submit` is one job, each `map` one array.

    `max_workers` limits the elements in flight, of `submit` and `map` together; None means no limit. `initializer` is
    called with `initargs` in each job's process, before its first call. `keywords` are the keywords of a task.
    """

    def __init__(
        self,
        cluster: Submitter,
        keywords: Mapping[str, Any],
        *,
        max_workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
    ) -> None:
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        for name, advice in _OF_OTHERS.items():
            if keywords.get(name):
                raise OptionError(f"executor({name}=…): {advice}")
        self._terms = Settings.parse({name: value for name, value in keywords.items() if name not in _OF_OTHERS})
        if self._terms.options.get("chunk_size") == AUTO:
            raise OptionError('executor(chunk_size="auto"): only maps of tasks have it. Write map(…, chunksize=100)')
        limit = self._terms.options.get("max_concurrent")
        if max_workers is not None and limit is not None:
            raise OptionError("max_workers and max_concurrent are the same limit here: leave one out")
        self._most = max_workers or (int(limit) if limit else None)
        self._cluster = cluster
        self._max_workers = self._most  # dask reads this attribute of any executor
        self._backlog = Backlog(self._most)
        self._initializer = getattr(initializer, "unwrapped", initializer)
        self._initargs, self._token = tuple(initargs), uuid.uuid4().hex
        self._maps: set[JobArray[Any]] = set()
        self._futures: set[JobFuture[Any]] = set()
        self._closed = False
        self._broken = ""

    if TYPE_CHECKING:

        @overload
        def submit(
            self, function: Callable[..., R], first: Placeholder, /, *args: Any, **kwargs: Any
        ) -> JobFuture[R]: ...
        @overload
        def submit(
            self, function: Callable[..., R], first: Any, second: Placeholder, /, *args: Any, **kwargs: Any
        ) -> JobFuture[R]: ...
        @overload
        def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobFuture[R]: ...

    @ends_at_the_caller
    def submit(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> JobFuture[R]:
        """Submit one call of a plain function or a task. If no slot is free, the call waits for one."""
        task = self._task(function)
        future: JobFuture[R] = JobFuture(task.name)

        def start() -> list[Job[R]]:
            job = task(*args, **kwargs)
            future.submitted(job)
            return [job]

        entry = Entry(start, future.not_submitted, future.dropped, alone=False)
        future.withdraw = lambda: self._backlog.withdraw(entry)
        self._backlog.add(entry)
        self._futures.add(future)
        Future.add_done_callback(future, self._finished)
        return future

    @ends_at_the_caller
    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[R]:
        """Submit a call for each item at once, as one array. Yields the results in order, each when it is available.

        `chunksize` calls go into one element of the array, unless it is 1 and the options give another number. With
        `buffersize`, items are read as results are yielded: at most this many calls are submitted and not yet yielded,
        in two arrays at a time. An exception of a call is raised in place of its result. Raises TimeoutError if not all
        results are available `timeout` seconds from now. After such an error, or if the iterator is closed, the calls
        that have not ended are cancelled, including running ones.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end = end_of_wait(timeout)
        task, items = self._task(fn), zip(*iterables)  # noqa: B905 - the builtin's own way

        def submit(count: int | None) -> _Array | None:
            """Submit the next `count` calls; None means all."""
            calls = list(itertools.islice(items, count))
            return self._submit_array(task, calls, chunksize) if calls else None

        arrays: deque[_Array] = deque()
        with contextlib.ExitStack() as undo:
            undo.callback(_give_up, arrays)
            for count in [None] if buffersize is None else [(buffersize + 1) // 2, buffersize // 2]:
                arrays.extend(filter(None, [submit(count)]))
            undo.pop_all()
        return self._results(arrays, submit, timeout, end)

    def _submit_array(self, task: Task[..., R], calls: list[tuple[Any, ...]], chunksize: int) -> _Array:
        self._refuse_calls_after_the_end()
        submitted: Future[JobArray[R]] = Future()

        def start() -> JobArray[R]:
            jobs = task.starmap(calls, chunk_size=chunksize if chunksize > 1 else None)
            calls.clear()
            for ended in [other for other in tuple(self._maps) if not other.part.state.unfinished]:
                self._maps.discard(ended)
            self._maps.add(jobs)
            submitted.set_result(jobs)
            return jobs[:: jobs.reference.chunk]

        def dropped() -> None:
            submitted.cancel()
            submitted.set_running_or_notify_cancel()  # else `concurrent.futures.wait` does not count it as done

        entry, count = Entry(start, submitted.set_exception, dropped, alone=True), len(calls)
        self._backlog.add(entry)
        return _Array(submitted, lambda: self._backlog.withdraw(entry), count)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the base
        """Accept no more calls. Wait for the submitted calls, or first cancel them, including running ones."""
        self._closed = True
        if cancel_futures:
            self._backlog.clear()
            self._backlog.drain()
            jobs = [future.wait_for_job() for future in tuple(self._futures)]
            waiting.cancel([job for job in jobs if job is not None], *tuple(self._maps))
        if wait:
            self._backlog.drain()
            waiting.wait(tuple(self._maps))
            for future in tuple(self._futures):
                completion.future_ended(future)

    def _task(self, function: Callable[..., R]) -> Task[..., R]:
        self._refuse_calls_after_the_end()
        if isinstance(inner := getattr(function, "func", None), Task):
            message = f"functools.partial({inner.name}, …) would submit a call from within a call"
            raise about_the_caller(TypeError(f"{message}: write functools.partial({inner.name}.unwrapped, …)"))
        found: Task[..., R] = function if isinstance(function, Task) else Task(function)
        called: Callable[..., R] = found.unwrapped
        if inspect.iscoroutinefunction(called):
            raise TypeError(f"{found.name} is a coroutine function: submit a plain function that calls asyncio.run")
        if self._initializer:
            called = Initialized(
                called, found.name, initializer=self._initializer, initargs=self._initargs, executor=self._token
            )
        terms = self._terms.merged(found.terms).merged(Settings(options=Options.parse({"reuse": False})))
        if self._most:
            most = min(self._most, int(terms.options.get("max_concurrent") or self._most))
            terms = terms.merged(Settings(options=Options.parse({"max_concurrent": most})))
        return type(found)(called, terms, upstreams=found.upstreams, submitter=self._cluster)

    def _refuse_calls_after_the_end(self) -> None:
        if self._broken:
            raise BrokenExecutor(self._broken)
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _finished(self, future: Future[Any]) -> None:
        if isinstance(future, JobFuture):
            self._futures.discard(future)
        if not future.cancelled():
            self._note(future.exception())

    def _note(self, error: BaseException | None) -> None:
        """Accept no more calls after a failure of the initializer, as the standard library's executors do."""
        if self._initializer and isinstance(error, BrokenExecutor):
            self._broken = str(error)

    def _results(
        self,
        arrays: deque[_Array],
        submit: Callable[[int], _Array | None],
        timeout: float | None,
        end: float | None,
    ) -> Iterator[R]:
        try:
            while arrays:
                if not completion.future_ended(arrays[0].submitted, seconds_until(end)):
                    raise completion.TimeoutError
                yield from arrays[0].submitted.result().iter_results(seconds_until(end))
                arrays.extend(filter(None, [submit(arrays.popleft().calls)]))
        except GeneratorExit:  # from a loop that was left, or from the garbage collector, in any thread
            if not sys.is_finalizing():  # at the end of the program, jobs continue
                threading.Thread(target=_give_up, args=(arrays,), name="slurm-cancel").start()
            raise
        except TransportError:  # the calls did not cause it
            raise
        except completion.TimeoutError:
            _give_up(arrays)
            raise completion.TimeoutError(
                f"the results were not all there after {timeout} s; the calls that had not ended were cancelled"
            ) from None
        except KeyboardInterrupt:
            _give_up(arrays)
            raise KeyboardInterrupt(_what_is_left(arrays)) from None
        except BaseException as error:  # no call may continue if nothing waits for it; raised again
            self._note(error)
            _give_up(arrays)
            raise


def _what_is_left(arrays: Iterable[_Array]) -> str:
    """Return what happened to the calls of an interrupted map, and how to open the calls that had ended."""
    words = "the calls of the map that had not ended were cancelled"
    submitted = [array.submitted for array in arrays if array.submitted.done() and not array.submitted.cancelled()]
    several = [future.result().part for future in submitted if future.exception() is None]
    found = [f"Cluster({str(part.place.url)!r}).job({part.state.key!r})" for part in several]
    return f"{words}; the others keep their results: {'; '.join(found)}" if found else words


def _give_up(arrays: Iterable[_Array]) -> None:
    """Cancel the calls of a map that have not ended. An error of the scheduler is logged."""
    for array in arrays:
        if array.withdraw() or array.submitted.cancelled() or array.submitted.exception() is not None:
            continue
        jobs = array.submitted.result()
        try:
            jobs.cancel()
        except SlurmError as error:
            _log.warning("the calls of %s that have not ended could not be cancelled: %s", jobs.key, error)
