"""Cluster: where tasks run, with the defaults for their options, environment and callbacks."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from slurm.clusters.arguments import (
    only_bound_calls,
    only_iterable_calls,
    only_known_arguments,
    warn_on_a_login_node,
)
from slurm.sanitize.numbers import whole
from slurm.tasks import active
from slurm.tasks.settings import Settings
from slurm.tracebacks import KnownAttributes, ends_at_the_caller

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from slurm.callbacks.base import Callback
    from slurm.clusters.batch import Batch
    from slurm.clusters.chain import Chain
    from slurm.clusters.pool import Duration, Pool, Workers
    from slurm.environments.base import Environment
    from slurm.jobs.executor import ClusterExecutor
    from slurm.jobs.job import Job, JobArray
    from slurm.jobs.listing import Listing
    from slurm.jobs.plan import Plan
    from slurm.jobs.submit import Batched
    from slurm.options import Options
    from slurm.options.types import TaskKeywords, TaskOptions
    from slurm.protocol import ResolvedEnvironment
    from slurm.serialization.pickling import Arguments
    from slurm.slurmfile import ClusterEntry
    from slurm.storage.put import Put
    from slurm.submission.submission_state import SubmissionState
    from slurm.tasks.task import Task
    from slurm.views.graph import Graph

P = ParamSpec("P")
R = TypeVar("R")


class Cluster(KnownAttributes):
    """Where tasks run: `Cluster()` is this machine, `Cluster("slurm")` the Slurm of this machine, and
    `Cluster("slurm+ssh://login")` the Slurm of another host. `Cluster("auto")` is the Slurm of this machine if sbatch
    is on PATH, its Grid Engine if qsub and qconf are, its PBS if qsub and qselect are, else this machine.

    The URL is `scheduler[+transport]://[user@]host[:port][/root]`. The default is `local`; then the first submission
    logs a warning if `sbatch` is on PATH, because jobs would run on the login node. `root` is the directory of all job
    directories, which every node must see; the default is `slurm-jobs` in $SCRATCH, $WORK or the home directory.
    `python` is the interpreter there, by default this one. `environment` is the default environment of tasks, by
    default that Python unchanged; several are combined. `setup` holds lines of bash that a job runs before it starts
    Python; if a line fails, the job ends as SetupFailed. With `login_shell`, a login shell runs the commands, for sites
    where only a login shell finds Slurm. `options` and `callbacks` apply to all tasks.

        with Cluster("slurm", options={"partition": "short"}) as cluster:
            job = square(3)

    Jobs continue when the program ends. With `cancel_on_exit`, leaving the `with` cancels the jobs submitted in it.

    The constructor does no I/O. Raises ClusterURLError, PluginNotFound, OptionError.
    """

    @only_known_arguments
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
        from slurm.places.place import place_for

        steps = (setup,) if isinstance(setup, str) else tuple(setup)
        self._is_default = url is None
        self.place = place_for(
            "local" if url is None else url, root=root, python=python, setup=steps, login_shell=login_shell
        )
        self._mine: list[JobArray[Any]] | None = [] if cancel_on_exit else None
        self._executors: list[ClusterExecutor] = []
        self.settings = Settings.parse({**(options or {}), "environment": environment, "callbacks": callbacks})

    @classmethod
    def from_slurmfile(
        cls, name: str | None = None, *, path: str | os.PathLike[str] | None = None, callbacks: bool = True
    ) -> Self:
        """The cluster `name` of a Slurmfile; the default name is $SLURMFILE_PROFILE, or the file's `default`.

        The file is `path`, else $SLURMFILE, else the nearest `Slurmfile` upward from the working directory, else the
        user's own in `~/.config/slurm-tasks/`. A file found upward must belong to the user or root, or be trusted
        (`slurm config trust`). With `callbacks`, imports and uses the callbacks of the file. Raises SlurmfileError.
        """
        from slurm import slurmfile

        return cls.from_entry(slurmfile.load(name, path), callbacks=callbacks)

    @classmethod
    def from_entry(cls, entry: ClusterEntry, *, callbacks: bool = True) -> Self:
        """The cluster of an entry of a Slurmfile."""
        from slurm.slurmfile import callbacks as slurmfile_callbacks

        cluster = cls(
            entry.url,
            root=entry.root,
            python=entry.python,
            environment=entry.environment,
            setup=entry.steps,
            login_shell=entry.login_shell,
            callbacks=slurmfile_callbacks.make(entry.callbacks) if callbacks else (),
        )
        cluster.settings = cluster.settings.replace(options=entry.options)
        return cluster

    @property
    def options(self) -> Options:
        """The defaults for all tasks."""
        return self.settings.options

    @property
    def url(self) -> str:
        """The URL, with the root if one was given."""
        return str(self.place.url)

    @staticmethod
    def current() -> Cluster:
        """The active cluster, which runs tasks called here: the one of the innermost `with`, else the activated one.

        In a workflow, this is the cluster of the workflow's tasks. Raises NoActiveCluster.
        """
        found = active.current()
        if not isinstance(found, Cluster):
            raise active.no_active_cluster("there is no current one: use `with Cluster(…):` or `Cluster(…).activate()`")
        return found

    def __enter__(self) -> Self:
        active.active.set((*active.active.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop receiving calls. Jobs continue, and their handles keep working, unless `cancel_on_exit`."""
        from slurm.jobs.waiting import cancel
        from slurm.notifications.dispatcher import flush_hooks

        active.active.set(active.active.get()[:-1])
        if self._mine is not None:
            for executor in self._executors:  # which may hold calls back
                executor.shutdown(wait=False, cancel_futures=True)
            cancel(self._mine)
        flush_hooks()

    def activate(self) -> Self:
        """Run all calls outside of a `with` on this cluster, in every thread: for notebooks and scripts."""
        active.activate(self)
        return self

    def deactivate(self) -> None:
        """Undo `activate`."""
        active.deactivate(self)

    @only_bound_calls
    def submit(self, of: Task[P, R, Any], calls: Iterable[Arguments], *, mapped: bool) -> JobArray[R]:
        """Submit bound calls of a task as one submission, as `task(…)` and `task.map(…)` do.

        In a block of `batch()`, they are submitted at its end.
        """
        for block in reversed(active.batches.get()):
            if block.cluster is self:
                added: JobArray[R] = block.add(of, calls, mapped=mapped)
                return added
        return self._submit_now(of, calls, mapped=mapped)

    def _submit_now(
        self, of: Task[P, R, Any], calls: Iterable[Arguments], *, mapped: bool, batch: Batched | None = None
    ) -> JobArray[R]:
        """Submit bound calls of a task, or of the tasks of a batch, as one submission."""
        from slurm.jobs.submit import Wanted, submit

        terms = self.settings.merged(of.terms)
        if mapped and terms.options.get("chunk_size") == "auto":
            from slurm.clusters.auto_chunks import submit_auto

            return submit_auto(self, of, list(calls), batch=batch)
        if terms.options.get("reuse") and not terms.environment:
            _ = self.place.packages  # one command for this and the probe
        wanted = Wanted(of, calls, mapped, *self._prepare(of), self.settings, batch=batch)
        if not wanted.settings.options.get("reuse"):
            return self._jobs_of(submit(self.place, wanted))
        from slurm.jobs.reuse import submit_unknown

        jobs, own = submit_unknown(self.place, wanted)
        self._note_jobs([own])
        return jobs

    def batch(self) -> Batch:
        """A `with` block whose calls, of any tasks with equal options, are submitted at its end, as one array.

            with cluster.batch():
                jobs = [load(path) for path in paths] + [report(day)]

        The jobs have results and states once the block has ended. Nothing is submitted if it raises an error.
        """
        from slurm.clusters.batch import Batch

        return Batch(self)

    def chain(self) -> Chain:
        """Collect single calls, to submit them by one command. Later calls may depend on earlier ones."""
        from slurm.clusters.chain import Chain

        return Chain(self)

    @only_iterable_calls
    def plan(
        self, of: Task[P, R, Any], calls: Iterable[tuple[Any, ...] | Mapping[str, Any]], *, offline: bool = False
    ) -> Plan[JobArray[R]]:
        """The submission that `task.starmap(calls)` would make. Makes, writes and queues nothing, here or there.

        Runs the command of the probe, and commands that look for an environment. Runs none with `offline`, or if the
        cluster cannot be reached: then placeholders such as <root> stand for values of the cluster.
        """
        return self.plan_calls(of, map(of.bound_item, calls), mapped=True, offline=offline)

    def plan_calls(
        self, of: Task[P, R, Any], calls: Iterable[Arguments], *, mapped: bool, offline: bool = False
    ) -> Plan[Any]:
        """Plan bound calls of a task, as `task.plan(…)` and `cluster.plan(…)` do."""
        from slurm.clusters.planning import plan_calls

        return plan_calls(self, of, calls, mapped=mapped, offline=offline)

    def _jobs_of(self, watched: SubmissionState) -> JobArray[Any]:
        from slurm.jobs.job import JobArray

        jobs: JobArray[Any] = JobArray(self.place, watched, range(watched.count))
        self._note_jobs([jobs])
        return jobs

    def _note_jobs(self, several: Iterable[JobArray[Any]]) -> None:
        """Keep jobs for `cancel_on_exit`."""
        if self._mine is not None:
            self._mine += several

    @ends_at_the_caller
    def executor(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        **options: Unpack[TaskKeywords],
    ) -> ClusterExecutor:
        """A `concurrent.futures.Executor` that runs on this cluster, for code that needs one.

        `max_workers`, or the option `max_concurrent`, limits the array elements that run at once, of `submit` and `map`
        together. `initializer(*initargs)` is called once in each job's process, before its first call.
        """
        from slurm.clusters.batch import PastBatches
        from slurm.jobs.executor import ClusterExecutor

        past = PastBatches(self)
        made = ClusterExecutor(past, options, max_workers=max_workers, initializer=initializer, initargs=initargs)
        if self._mine is not None:
            self._executors.append(made)
        return made

    @ends_at_the_caller
    def pool(
        self, key: str | None = None, *, nodes: int = 1, workers: Workers = 1, idle: Duration = "5:00", **options: Any
    ) -> Pool:
        """Start `nodes` elements of `workers` processes for `task.on(pool)(3)`, or join the pool with this key.

        With `workers=(0, 64)` (the least and the most in total), elements are added while calls wait. An element ends
        after `idle` without a call. The options are those of a task. Experimental. Raises OptionError and PoolError.
        """
        from slurm.clusters.pool import pool

        return pool(self, key, nodes=nodes, workers=workers, idle=idle, options=options)

    @ends_at_the_caller
    def put(self, value: Any) -> Put:
        """Send an object, or the file or directory of a `Path`, once. The returned `Put` stands for it in any call.

        A task receives the object, loaded once in each process, or a read-only path. Files that are there already are
        not sent. Raises NotPicklable, SubmissionError and TransportError.
        """
        from slurm.jobs.reuse import value_digest
        from slurm.storage.put import put
        from slurm.tasks.task import REDUCERS

        return put(value, self.place.blobs, home=self.url, reducers=REDUCERS, digest=value_digest)

    @ends_at_the_caller
    def job(self, name: str) -> Job[Any] | JobArray[Any]:
        """Open a job that any process has submitted, by its key, or by key[index] for one call of a map.

        The key of a single call gives a Job, the key of a map a JobArray. Instead of a key: the beginning of a key, or
        of its random part; the scheduler's id, such as "1234" or "1234_7"; a label such as "sweep=depths", if only one
        submission has it; "last" for the newest submission. Raises NoSuchJob, also if a text names several submissions.
        """
        from slurm.clusters.opening import find_job_or_call

        found = find_job_or_call(self.place, name)
        for part in found.parts if self.settings.callbacks else ():
            self.place.subscriptions.attach(part.state, self.settings.callbacks)
        return found

    def jobs(
        self,
        task: str | None = None,
        *,
        limit: int | None = None,
        labels: Mapping[str, str | int | float | None] | None = None,
    ) -> Listing:
        """The submissions of any process, newest first; at most `limit`.

        With `task`, only submissions of this task. With `labels`, only submissions that have all these labels; None
        stands for any value. Submissions to another scheduler under the same root are left out. Reads the records
        together. Raises OptionError for labels that no submission can have.
        """
        from slurm.jobs.find import newest_first
        from slurm.jobs.listing import Listing
        from slurm.options.labels import parse as parse_labels

        limit = None if limit is None else whole(limit, "limit")
        wanted = parse_labels(labels or {})
        keys = self.place.store.keys(task)
        groups = newest_first(self.place, keys, at_once=limit or len(keys), labels=wanted)
        return Listing(islice(chain.from_iterable(groups), limit))

    def graph(self, *jobs: Job[Any] | JobArray[Any]) -> Graph:
        """The jobs with all their upstream jobs, the children of workflows, and the state of each.

        Queries the scheduler if any job is unfinished.
        """
        from slurm.jobs.job import Job, JobArray
        from slurm.views.graph import graph_of

        plain = [each for job in jobs for each in job.several or (job,)]
        return graph_of(self.place, [each.part for each in plain if isinstance(each, (Job, JobArray))])

    def script(self, of: Task[..., Any], *, count: int = 1) -> str:
        """The batch script of a call of a task, or of a map over `count` items. Makes and submits nothing.

        Placeholders such as <python> stand for values that are not known before the task's environment is made, and
        for values of a cluster that cannot be reached.
        """
        from slurm.clusters.planning import script_of

        return script_of(self, of, whole(count, "count", least=1))

    def command_counts(self) -> Mapping[str, int]:
        """Count the commands that this process has run against the scheduler, by kind: submit, query, cancel, …"""
        return dict(self.place.queue.client.calls)

    def close(self) -> None:
        """Close the connections. Jobs continue; the next use connects again."""
        self.place.transport.close()

    def _prepare(self, of: Task[..., Any]) -> tuple[Settings, ResolvedEnvironment]:
        """The settings of a task on this cluster, and its environment, ready to use."""
        from slurm.clusters import environment_cache
        from slurm.jobs.launching import is_command
        from slurm.notifications.client_hooks import NotifyingBuildListener

        if self._is_default:
            warn_on_a_login_node()
        settings = self.settings.merged(of.terms)
        listener = NotifyingBuildListener(self.url, settings.callbacks)
        prepared = environment_cache.prepare(
            self.place, settings.environment or (), settings.options, listener=listener, for_program=is_command(of)
        )
        return settings, prepared

    def _no_attribute(self, name: str) -> AttributeError:
        from slurm.usage import no_attribute_of_cluster

        return no_attribute_of_cluster(self, name)

    def __repr__(self) -> str:
        return f"Cluster({self.url!r})"

    def _repr_html_(self) -> str:
        from slurm.views.notebook import cluster_html

        return cluster_html(self.place, self.settings.environment or (), self.options)
