"""Pool: makes calls in worker processes that wait for calls, so that another call takes only milliseconds."""

from __future__ import annotations

import contextlib
import os
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar, Union

from slurm.callbacks.base import NODE_HOOKS, SUBMISSION_HOOKS, merge, overrides
from slurm.clusters.opening import open_call
from slurm.errors import OptionError, PoolError, SlurmError
from slurm.jobs.executor import ClusterExecutor
from slurm.jobs.handle import by_reference
from slurm.jobs.job import JobArray
from slurm.jobs.launching import is_command
from slurm.jobs.submit import Wanted, describe, head_of, submit_draft
from slurm.notifications.pool_subscriptions import PoolSubscriptions
from slurm.options import values
from slurm.options.retry import of_options
from slurm.pools.blocks import calls_of_a_block
from slurm.pools.client_files import ClientFiles
from slurm.pools.growth import create_elastic, growth_of
from slurm.pools.held_calls import jobs_among
from slurm.pools.pool_calls import PoolCalls
from slurm.pools.relayed_files import files_of
from slurm.protocol import CLIENTS
from slurm.protocol.pools import INLINE, INLINE_BYTES, MOST, POOL, client_key, is_elastic
from slurm.runner.pools import element
from slurm.runner.pools.worker import WorkerSettings
from slurm.sanitize.numbers import whole
from slurm.serialization.calls import unpacked
from slurm.serialization.pickling import pickle_calls
from slurm.storage.keys import new_key
from slurm.storage.uploads import Uploads
from slurm.tasks.settings import Settings
from slurm.tasks.task import REDUCERS, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import timedelta
    from types import TracebackType

    from typing_extensions import Self

    from slurm.callbacks.base import Callback
    from slurm.clusters.cluster import Cluster
    from slurm.jobs.plan import Plan
    from slurm.places.place import Place
    from slurm.pools.pool_files import PoolFiles
    from slurm.pools.relayed_files import RelayedFiles
    from slurm.protocol import Submission
    from slurm.serialization.pickling import Arguments, Reference
    from slurm.submission.submission_state import SubmissionState

Duration = Union[float, str, "timedelta"]
"""Seconds, Slurm's text for a time, or a timedelta."""

Workers = Union[int, tuple[int, int]]
"""The workers of each element of a pool; for an elastic pool, the least and the most workers of all elements."""

_LEAD, _LEAD_SHARE = 30.0, 0.1
"""An element accepts no more calls this many seconds before its time limit, or this share of the limit if less."""

_THREADS = "OMP_NUM_THREADS"

P = ParamSpec("P")
R = TypeVar("R")


class Pool:
    """Workers of an array of jobs, which make the calls of `task.on(pool)`. Made by `cluster.pool(…)`.

    Leaving the `with` ends the workers, after all calls that have been made.
    """

    def __init__(
        self,
        place: Place,
        state: SubmissionState,
        files: ClientFiles,
        *,
        submission: Submission,
        callbacks: Sequence[Callback],
    ) -> None:
        self._place, self._state, self._files, self._environment = place, state, files, submission.environment
        self._options, self._callbacks = submission.options, callbacks
        record = submission.pool or {}
        self._growth = growth_of(place, state)
        self._workers = int(record["workers"]) * int(record.get(MOST, state.elements))
        if self._growth is not None:
            self._growth.active = True
        self._calls = PoolCalls(place, client_key(state.key, files.number), state, files)
        self._calls.state.opener = open_call
        self._lock, self._pid, self._closed = threading.Lock(), os.getpid(), False

    @property
    def key(self) -> str:
        """The key of the pool's submission."""
        return self._state.key

    @property
    def jobs(self) -> JobArray[int]:
        """The elements of the pool; for an elastic pool, the elements that were added so far.

        The result of each is the number of calls that it has claimed.
        """
        if self._growth is not None:
            self._growth.look()
        return JobArray(self._place, self._state, range(self._state.count))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._calls.cancel(self._calls.held.numbers)
        self.close()

    def close(self) -> None:
        """Accept no more calls. The workers end once they have made the submitted calls.

        Waits for the jobs that calls of the pool wait for.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._calls.held.wait()
        with self._lock:
            try:
                self._files.close()
                ends_by_itself = self._calls.unanswered or self._calls.none_left
            except PoolError:  # the elements cannot be informed
                ends_by_itself = False
        if self._growth is not None and ends_by_itself:
            self._growth.grow_for_the_rest()
        elif not ends_by_itself and not self._has_others:
            self.jobs.cancel()

    @property
    def _has_others(self) -> bool:
        """Whether an elastic pool has had other clients, which may still need its elements."""
        if self._growth is None:
            return False
        clients = f"{self._place.store.directory(self._state.key)}/{CLIENTS}"
        return self._files.number > 0 or any(self._files.files.exist([f"{clients}/1"]))

    def submit(self, of: Task[P, R, Any], calls: Iterable[Arguments], *, mapped: bool) -> JobArray[R]:
        """Write bound calls of a task for the workers, as `task.on(pool)(…)` and `.map(…)` do."""
        self._refuse(of)
        uploads = Uploads()
        token = by_reference.set(True)
        try:
            pickled = pickle_calls(head_of(of, uploads), calls, reducers=REDUCERS, there=self._environment.modules)
        finally:
            by_reference.reset(token)
        needs = [jobs_among(some) if some else some for some in pickled.references]
        after = tuple((each.reference, on) for each, on in of.upstreams if not isinstance(each, str))
        self._refuse_foreign({*pickled.references, frozenset(reference for reference, _ in after)})
        text, retry = of.terms.options.get("retry"), of_options(of.terms.options.get)
        data, (head, *bounds) = pickled.calls.data, unpacked(pickled.calls.offsets)
        calls_data = [data[begin:end] for begin, end in pairwise(bounds)]
        with self._lock:
            self._refuse_after_the_end()
            try:
                digest = self._files.add_function(data[: bounds[0]], head, str(text or ""))
            except OSError as error:
                raise PoolError(f"{of.name} cannot be written for the workers of the pool: {error}") from error
            size = calls_of_a_block(len(calls_data), self._workers)
            indices = self._calls.submit(digest, calls_data, needs=needs, after=after, retry=retry, size=size)
            if indices and (self._callbacks or of.terms.callbacks):
                self._report(of, indices, mapped=mapped)
        return JobArray(self._place, self._calls.state, indices)

    def _report(self, of: Task[..., Any], indices: range, *, mapped: bool) -> None:
        """Report the events of calls to the callbacks of the cluster and of their task."""
        merged = merge(self._callbacks, of.terms.callbacks)
        callbacks = [callback for callback in merged if overrides(callback, SUBMISSION_HOOKS)]
        if not callbacks:
            return
        state = self._calls.state
        if not isinstance(state.listener, PoolSubscriptions):
            state.listener = PoolSubscriptions(
                self._place.subscriptions,
                self._state,
                state.key,
                lambda numbers: self._calls.several_outcomes({state.key: numbers})[state.key],
            )
        retry = of.terms.options.get("retry")
        options = {**self._options, "retry": retry} if retry else self._options
        state.listener.attach(indices, callbacks, task=of.name, mapped=mapped, options=options)
        state.listener.finished(index for index in indices if state.finished(index))

    def plan_calls(self, of: Task[P, R, Any], calls: Iterable[Arguments], *, mapped: bool) -> Plan[Any]:
        """Raise PoolError: a pool queues nothing, so there is nothing to plan."""
        del calls, mapped
        raise PoolError(f"{of.name}.plan(…) on a pool: a call of a pool queues nothing. Plan it on the cluster")

    def executor(
        self, *, initializer: Callable[..., object] | None = None, initargs: Sequence[Any] = ()
    ) -> ClusterExecutor:
        """A `concurrent.futures.Executor` on the workers, with real Futures.

        `initializer(*initargs)` is called once in each worker, before its first call of this executor.
        """
        made = ClusterExecutor(self, {}, initializer=initializer, initargs=initargs)
        made._max_workers = self._workers  # noqa: SLF001 - libraries read it
        return made

    def joblib(self, **options: Any) -> AbstractContextManager[Any]:
        """A `with` block in which joblib.Parallel, and so scikit-learn's `n_jobs`, runs on the workers.

        `options` are those of `joblib.parallel_config`, such as `n_jobs`, which is all workers by default.
        """
        from joblib import parallel_config  # noqa: PLC0415 - not a dependency of this library

        from slurm.clusters.joblib_backend import JoblibBackend  # noqa: PLC0415 - as above

        found: AbstractContextManager[Any] = parallel_config(
            backend=JoblibBackend(self.executor(), self._workers), **{"n_jobs": -1, **options}
        )
        return found

    def _refuse(self, of: Task[..., Any]) -> None:
        """Raise PoolError for a task that a pool cannot run."""
        terms = of.terms
        what = (
            "is a workflow, which runs as a job of its own"
            if of.is_workflow
            else "runs a program, which runs as a job of its own"
            if is_command(of)
            else "waits for a job by its id (after), which only a job of its own can"
            if any(isinstance(upstream, str) for upstream, _ in of.upstreams)
            else "has an environment of its own: give it to cluster.pool(environment=…)"
            if terms.environment
            else "has a Retry that changes mem=, time= or the nodes, which the pool has given"
            if (retry := of_options(terms.options.get)) and (retry.mem or retry.time or retry.exclude_failed_node)
            else "has callbacks with hooks of the node, which a worker does not call"
            if any(overrides(callback, NODE_HOOKS) for callback in terms.callbacks)
            else ""
        )
        if what:
            raise PoolError(f"{of.name} cannot run on a pool: it {what}")

    def _refuse_foreign(self, references: Iterable[frozenset[Reference]]) -> None:
        for reference in frozenset().union(*references):
            if reference.home != str(self._place.url):
                raise PoolError(
                    f"{reference.key} is on {reference.home}, and the pool on {self._place.url}, which cannot read its "
                    "result: pass job.result() instead"
                )

    def _refuse_after_the_end(self) -> None:
        if self._pid != os.getpid():
            raise PoolError("a pool is used by the process that has made it, and not by a fork")
        if self._closed:
            raise PoolError("the pool is closed, and takes no more calls")
        if self._calls.none_left:
            try:
                why = self._calls.why_ended
            except SlurmError as error:
                why = str(error)
            raise PoolError(f"{why}: make a new pool, or give it more time= or idle=")

    def __repr__(self) -> str:
        return f"<Pool {self.key} of {self._workers} workers on {self._place.url}>"


def pool(
    cluster: Cluster,
    key: str | None,
    *,
    nodes: int,
    workers: Workers,
    idle: Duration,
    options: Mapping[str, Any],
) -> Pool:
    """Submit the elements of a pool, or join the one with this key.

    Raises PoolError if no workers can run beside this program.
    """
    size = size_of(nodes, workers)
    pool_files = files_of(cluster.place)
    if key is None:
        return _make(cluster, pool_files, size, idle=idle, options=options)
    if options or (nodes, workers) != (1, 1):
        raise OptionError(f"cluster.pool({key!r}) joins a pool that has its options: leave out all but the key")
    return _join(cluster, pool_files, key)


class PoolSize(NamedTuple):
    """The least and the largest number of elements of a pool, and the workers of each."""

    least: int
    most: int
    workers: int


def size_of(nodes: int, workers: Workers) -> PoolSize:
    """Return the size of a pool. A pair of workers counts the workers of all elements together. Raises OptionError."""
    given = whole(nodes, "nodes", least=1)
    if not isinstance(workers, (tuple, list)):
        return PoolSize(given, given, whole(workers, "workers", least=1))
    if len(workers) != 2:
        raise OptionError(f"workers={workers!r}: write one number, or the least and the most in all, such as (0, 64)")
    least, most = whole(workers[0], "workers[0]"), whole(workers[1], "workers[1]", least=1)
    if least > most:
        raise OptionError(f"workers={workers!r}: the first number (the least) must not be larger than the second")
    if least < most and given == 1:
        given = most
    if most % given:
        raise OptionError(
            f"workers={workers!r} on nodes={given}: each has as many, so {most} must be a multiple of {given}"
        )
    each = most // given
    return PoolSize(given if least == most else -(-least // each), given, each)


def _make(
    cluster: Cluster,
    pool_files: PoolFiles | RelayedFiles,
    size: PoolSize,
    *,
    idle: Duration,
    options: Mapping[str, Any],
) -> Pool:
    place, options, (least, nodes, workers) = cluster.place, dict(options), size
    most = whole(options.pop("max_calls_per_worker", 0), "max_calls_per_worker")
    each = WorkerSettings(most, options.pop("initializer", None), tuple(options.pop("initargs", ())))
    try:
        seconds = float(values.lead(idle))
    except ValueError as error:
        raise OptionError(f"idle={idle!r}: write {error}") from None
    own = {"cpus_per_task": workers, **options, "reuse": False, "retry": None}
    own |= {} if options.get("requeue") else {"no_requeue": True}
    task = Task(element.pool, Settings.parse(own))
    if _THREADS not in {**cluster.options.env, **task.terms.options.env}:
        threads = max(1, int(str(task.terms.options.get("cpus_per_task"))) // workers)
        own["env"] = {**task.terms.options.env, _THREADS: f"{threads}"}
        task = Task(element.pool, Settings.parse(own))
    settings, environment = cluster._prepare(task)  # noqa: SLF001 - of this package
    limit = values.seconds(str(settings.options.get("time"))) if settings.options.get("time") else None
    end = None if limit is None else limit - min(_LEAD, _LEAD_SHARE * limit)
    key = new_key(POOL)
    directory = place.store.directory(key)
    numbers: Iterable[int | None] = range(nodes) if least == nodes else (None,)
    calls: list[Arguments] = [((number, nodes, workers, seconds, end, each), {}) for number in numbers]
    try:
        files = ClientFiles.create(pool_files, directory, nodes if least == nodes else 0, inline=INLINE_BYTES)
        draft = describe(place, Wanted(task, calls, True, settings, environment, cluster.settings, key))
        if least == nodes:
            submission = draft.submission.replace(pool={"workers": workers, INLINE: INLINE_BYTES})
            state = submit_draft(place, draft._replace(submission=submission), settings.callbacks)
        else:
            submission, state = create_elastic(place, draft, least=least, most=nodes, workers=workers)
            place.subscriptions.attach(state, settings.callbacks, submitted=submission)
    except (SlurmError, OSError):
        with contextlib.suppress(OSError, SlurmError):
            pool_files.remove(directory)
        raise
    pool = Pool(place, state, files, submission=submission, callbacks=settings.callbacks)
    if cluster._mine is not None:  # noqa: SLF001 - as above
        cluster._mine.append(pool.jobs)  # noqa: SLF001
    return pool


def _join(cluster: Cluster, pool_files: PoolFiles | RelayedFiles, key: str) -> Pool:
    place = cluster.place
    records = place.store.records(key)
    submission = records.submission
    if submission.pool is None:
        raise PoolError(f"{key} is no pool: pass the key of one, which is pool.key")
    state = place.registry.add(*records)
    try:
        elements = 0 if is_elastic(submission.pool) else submission.elements
        inline = submission.pool.get(INLINE)
        files = ClientFiles.create(pool_files, place.store.directory(key), elements, inline=inline)
    except OSError as error:
        raise PoolError(f"the pool {key} cannot be joined: {error}") from error
    return Pool(place, state, files, submission=submission, callbacks=cluster.settings.callbacks)
