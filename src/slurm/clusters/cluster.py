"""Cluster: a place to run tasks, and the composition of all that it takes."""

from __future__ import annotations

import functools
import logging
import os
import re
import shutil
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from slurm import slurmfile
from slurm.clusters import environment_cache
from slurm.errors import NoSuchJob
from slurm.jobs import submit
from slurm.jobs.job import Job, JobArray, handle
from slurm.jobs.waiting import cancel
from slurm.notifications.client_hooks import NotifyingBuildListener
from slurm.notifications.dispatcher import flush_hooks
from slurm.places.place import place_for
from slurm.sanitize.numbers import whole
from slurm.slurmfile import callbacks as slurmfile_callbacks
from slurm.tasks import task
from slurm.tasks.settings import Settings
from slurm.views.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from slurm.callbacks.base import Callback
    from slurm.environments.base import Environment
    from slurm.jobs.executor import ClusterExecutor
    from slurm.options import Options
    from slurm.options.types import TaskKeywords, TaskOptions
    from slurm.places.place import Place
    from slurm.protocol import ResolvedEnvironment
    from slurm.serialization import Arguments
    from slurm.slurmfile import ClusterEntry
    from slurm.tasks.task import Task
    from slurm.views.graph import Graph

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<key>[^\[\]]+)(?:\[(?P<index>\d+)\])?")


@functools.cache
def _warn_on_a_login_node() -> None:
    """Warn, once a process, that jobs don't go to the Slurm that is here. Within a job of Slurm's this is intended."""
    if shutil.which("sbatch") and "SLURM_JOB_ID" not in os.environ:
        _log.warning(
            "Cluster() runs jobs as processes on this machine, but sbatch is on PATH: on a login node, "
            'write Cluster("slurm"). Cluster("local") runs them here without this warning.'
        )


class Cluster:
    """A place where tasks run: `Cluster()` is this machine, `Cluster("slurm")` the Slurm whose commands are here,
    `Cluster("slurm+ssh://login")` that of another host.

    The URL is `scheduler[+transport]://[user@]host[:port][/root]`. Without one it is `local`, and the first submission
    logs a warning if `sbatch` is on PATH: on a login node, jobs would run there. `root` is where job directories are
    kept, visible to all nodes; by default `slurm-jobs` in $SCRATCH, $WORK or the home. `python` is the interpreter
    there, by default this one. `environment` is what tasks run in that have none of their own, by default that Python
    as it is; several are combined. `setup` are lines of bash that a job takes before it starts that Python; one that
    fails ends it as SetupFailed. `login_shell` has commands there run by a login shell, for sites where only that one
    finds Slurm. `options` are defaults for all tasks; `callbacks` are told of all of them.

        with Cluster("slurm", options={"partition": "short"}) as cluster:
            job = square(3)

    Jobs go on when their program ends. With `cancel_on_exit`, leaving the `with` cancels those submitted in it.

    The constructor does no I/O. Raises ClusterURLError, PluginNotFound, OptionError.
    """

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        url: str | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        python: str | None = None,
        environment: Environment | Sequence[Environment] | None = None,
        setup: Sequence[str] = (),
        login_shell: bool = False,
        options: TaskOptions | None = None,
        cancel_on_exit: bool = False,
        callbacks: Iterable[Callback] = (),
    ) -> None:
        steps = (setup,) if isinstance(setup, str) else tuple(setup)
        self._is_default = url is None
        self._place = place_for(
            "local" if url is None else url, root=root, python=python, setup=steps, login_shell=login_shell
        )
        self._mine: list[JobArray[Any]] | None = [] if cancel_on_exit else None
        self._executors: list[ClusterExecutor] = []
        self.terms = Settings.parse({**(options or {}), "environment": environment, "callbacks": callbacks})

    @classmethod
    def from_slurmfile(
        cls, name: str | None = None, *, path: str | os.PathLike[str] | None = None, callbacks: bool = True
    ) -> Self:
        """The cluster that a Slurmfile has under a name, by default $SLURMFILE_PROFILE or the file's `default`.

        The file is `path`, else $SLURMFILE, else the nearest `Slurmfile` upward from the working directory, else the
        user's own in `~/.config/slurm-tasks/`. One found upward must belong to the user or root, or be trusted
        (`slurm config trust`). `callbacks` says whether those of the file are meant, which are imported then. Raises
        SlurmfileError.
        """
        return cls.from_entry(slurmfile.load(name, path), callbacks=callbacks)

    @classmethod
    def from_entry(cls, entry: ClusterEntry, *, callbacks: bool = True) -> Self:
        """The cluster of an entry that has been read from a Slurmfile."""
        cluster = cls(
            entry.url,
            root=entry.root,
            python=entry.python,
            environment=entry.environment,
            setup=entry.steps,
            login_shell=entry.login_shell,
            callbacks=slurmfile_callbacks.make(entry.callbacks) if callbacks else (),
        )
        cluster.terms = cluster.terms.replace(options=entry.options)
        return cluster

    @property
    def options(self) -> Options:
        """The defaults for all tasks."""
        return self.terms.options

    @property
    def url(self) -> str:
        """The URL, with the root if one was given."""
        return str(self._place.url)

    # Where tasks go.

    @staticmethod
    def current() -> Cluster:
        """The active cluster, to which tasks called here go: that of the innermost `with`, else the activated one.

        In a workflow that is the cluster of the workflow's tasks. Raises NoActiveCluster.
        """
        found = task.current()
        if not isinstance(found, Cluster):
            raise task.no_active_cluster("there is no current one: use `with Cluster(…):` or `Cluster(…).activate()`")
        return found

    def __enter__(self) -> Self:
        task.active.set((*task.active.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tasks go elsewhere again; jobs go on, and their handles keep working, unless `cancel_on_exit`."""
        task.active.set(task.active.get()[:-1])
        if self._mine is not None:
            for executor in self._executors:  # which may hold calls back
                executor.shutdown(wait=False, cancel_futures=True)
            cancel(self._mine)
        flush_hooks()

    def activate(self) -> Self:
        """Make this the cluster of all calls that no `with` covers, in every thread: for notebooks and scripts."""
        task.activate(self)
        return self

    def deactivate(self) -> None:
        """Undo `activate`."""
        task.deactivate(self)

    def submit(self, of: Task[P, R, Any], calls: Iterable[Arguments], *, mapped: bool) -> JobArray[R]:
        """Submit bound calls of a task as one submission, as `task(…)` and `task.map(…)` do."""
        if self._is_default:
            _warn_on_a_login_node()
        settings = self.terms.merged(of.terms)
        prepared = self._prepare(settings)
        watched = submit.submit(
            self._place, of, calls, mapped=mapped, settings=settings, environment=prepared, defaults=self.terms
        )
        jobs: JobArray[R] = JobArray(self._place, watched, range(watched.count))
        if self._mine is not None:
            self._mine.append(jobs)
        return jobs

    def executor(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        **options: Unpack[TaskKeywords],
    ) -> ClusterExecutor:
        """A `concurrent.futures.Executor` that runs on this cluster, for code that wants one.

        `max_workers`, or the option `max_concurrent`, bounds the array elements that run at once, of `submit` and `map`
        together. `initializer(*initargs)` is called once in each job's process, before its first call.
        """
        from slurm.jobs.executor import ClusterExecutor  # noqa: PLC0415 - it imports this module's types

        made = ClusterExecutor(self, options, max_workers=max_workers, initializer=initializer, initargs=initargs)
        if self._mine is not None:
            self._executors.append(made)
        return made

    # What was submitted before.

    def job(self, name: str) -> Job[Any] | JobArray[Any]:
        """A job of an earlier submission, from whatever process: by its key, or key[index] for one of an array.

        The key of one call gives a Job, that of a map a JobArray. Raises NoSuchJob.
        """
        parts = _NAME.fullmatch(name)
        if parts is None:
            message = f"{name!r} is not a job; write its key, or key[index]"
            raise NoSuchJob(message)
        watched = self._place.registry.get(parts["key"])
        index = int(parts["index"]) if parts["index"] else None
        if index is not None and index >= watched.count:
            message = f"{parts['key']} has {watched.count} jobs, so there is no [{index}]"
            raise NoSuchJob(message)
        if self.terms.callbacks:
            self._place.subscriptions.attach(watched, self.terms.callbacks)
        return handle(self._place, watched) if index is None else Job(self._place, watched, index)

    def jobs(self, task: str | None = None, *, limit: int | None = None) -> Listing:
        """What was submitted here before, by whatever process, the newest first; of one task, or of any.

        What was submitted to another scheduler under the same root is left out. `limit` says how many at most. Reads
        the records of those, in one go.
        """
        if limit is not None:
            whole(limit, "limit")
        keys, found = self._place.store.keys(task), list[Any]()
        size = limit or len(keys)
        while keys and (limit is None or len(found) < limit):
            some, keys, size = keys[:size], keys[size:], 2 * size
            read = self._place.store.several_records(some)
            found += [records for records in read if self._place.has(records)]
        found = found[:limit]  # whose names are of a second; their records tell more
        found.sort(key=lambda records: records.submission.created, reverse=True)
        return Listing(handle(self._place, self._place.registry.add(*records)) for records in found)

    def graph(self, *jobs: Job[Any] | JobArray[Any]) -> Graph:
        """Jobs with what they wait for, what workflows among them have submitted, and how far each is.

        Asks the scheduler if anything has not ended.
        """
        from slurm.views.graph import graph_of  # noqa: PLC0415 - imported at first use

        return graph_of(self._place, [job.part for job in jobs])

    def script(self, of: Task[..., Any], *, count: int = 1) -> str:
        """The batch script that a task's call, or a map over `count` items, would submit. Nothing is submitted."""
        whole(count, "count", least=1)
        if self._is_default:
            _warn_on_a_login_node()
        settings = self.terms.merged(of.terms)
        prepared = self._prepare(settings)
        return submit.preview(self._place, of, count, options=settings.options, environment=prepared)

    def command_counts(self) -> Mapping[str, int]:
        """Count the commands that this process has run against the scheduler, by kind: submit, query, cancel, …"""
        return dict(self._place.queue.client.calls)

    def close(self) -> None:
        """Let go of connections. Jobs go on; a later use connects again."""
        self._place.transport.close()

    @property
    def place(self) -> Place:
        """Where its jobs run, as this library's own parts see it."""
        return self._place

    def _prepare(self, settings: Settings) -> ResolvedEnvironment:
        listener = NotifyingBuildListener(self.url, settings.callbacks)
        return environment_cache.prepare(self._place, settings.environment or (), settings.options, listener=listener)

    def __repr__(self) -> str:
        return f"Cluster({self.url!r})"

    def _repr_html_(self) -> str:
        from slurm.views.notebook import cluster_html  # noqa: PLC0415 - only notebooks have it

        return cluster_html(self._place, self.terms)
