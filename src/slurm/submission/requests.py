"""Requests: build the script of a submission, and the request that queues each block."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from slurm.errors import OptionError, SubmissionError
from slurm.options import PLACEMENT, Options
from slurm.protocol import CARETAKER, LOGS, SCRIPT, Block, log_name
from slurm.schedulers.base import LAST_BLOCK, Dependency, Request, ntasks
from slurm.schedulers.marks import tag
from slurm.storage.runner_zip import bundle
from slurm.submission import dependencies, external_jobs
from slurm.submission.script import Lines, Ranks, Resubmission, render, render_retry_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.protocol import Edge, Submission
    from slurm.schedulers.base import Scheduler
    from slurm.storage.job_store import JobStore
    from slurm.submission.job_queue import JobQueue
    from slurm.submission.registry import SubmissionRegistry
    from slurm.submission.submission_state import SubmissionState

_IN_ONE_PROCESS = ("once", "mpi")
"""Values of `launch` for calls that run in one process of several tasks."""
_MOST_JOBS = 100
"""The most elements of a submission if each element is a separate job, because every job needs one sbatch."""
_RETRY_BLOCK = Block(first=0, count=1, name="caretaker")
_RETRY_OPTIONS = {"time": "15", "mem": "512M", "cpus_per_task": "1"}


class Requests:
    """Builds scripts and requests for one place.

    `list_outcomes` lists the outcomes of submissions now; `outside` returns the dependencies on external jobs.
    """

    def __init__(
        self,
        store: JobStore,
        queue: JobQueue,
        registry: SubmissionRegistry,
        list_outcomes: Callable[[Sequence[SubmissionState]], None],
        outside: Callable[[JobQueue, Submission], tuple[Dependency, ...]] = external_jobs.dependencies,
    ) -> None:
        self.store, self.queue, self.registry = store, queue, registry
        self._list_outcomes, self._outside = list_outcomes, outside

    def script(self, submission: Submission, options: Options) -> str:
        """The script of a submission."""
        named, lead, signal = _named(submission, options), options.get("signal_lead"), _stop_signal(options)
        chdir, cpus = options.get("chdir"), options.get("cpus_per_task")
        block, scheduler = self.queue.blocks(submission)[0], self.queue.scheduler
        return render(
            directives=scheduler.directives(
                named, tag=submission.key, log=self._logs(submission.key, block), block=block
            ),
            environment=submission.environment,
            root=self.store.root,
            runner=self.store.blob_path(bundle()),
            key=submission.key,
            chdir=chdir if isinstance(chdir, str) else None,
            cpus=cpus if isinstance(cpus, str) else None,
            calls=(submission.chunk, _workers(options, submission.chunk)),
            workflow=submission.workflow is not None,
            retry=Resubmission(self.queue.name, signal if lead else None) if submission.continues else None,
            hooked=submission.callbacks,
            measured=bool(options.get("metrics")),
            separate_stderr=bool(options.get("separate_stderr")),
            lines=Lines.of(options),
            env=options.env,
            ranks=Ranks([*scheduler.launcher, *srun_words(scheduler, options)], bool(options.get("gather")))
            if several_ranks(options)
            else None,
        )

    def retry_job_script(self, submission: Submission, options: Options) -> str:
        """The script of a submission's retry job."""
        job = self.retry_job(submission, options)
        asked = Options.parse({"clusters": options.get("clusters")}).merged(job.options)
        return render_retry_job(
            directives=self.queue.scheduler.directives(asked, tag=job.comment, log=job.log, block=job.block),
            environment=submission.environment,
            root=self.store.root,
            runner=self.store.blob_path(bundle()),
            key=submission.key,
            scheduler=self.queue.name,
        )

    def retry_job(self, submission: Submission, options: Options, *, until_queued: bool = False) -> Request:
        """The job that resubmits failed elements of a block when no client does. It is cancelled if none fail.

        With `until_queued`, which is used while elements wait for room in the queue, it runs in any case.
        """
        directory = self.store.directory(submission.key)
        kept = {name: options.get(name) for name in PLACEMENT if name != "clusters"}  # it runs where its block does
        return Request(
            script=f"{directory}/{CARETAKER}",
            comment=tag(submission.key, _RETRY_BLOCK),
            log=f"{directory.replace('%', '%%')}/{LOGS}/caretaker.log",
            block=_RETRY_BLOCK if self.queue.has_arrays else _RETRY_BLOCK.replace(array=False),
            options=Options.parse({**kept, **_RETRY_OPTIONS, "job_name": f"{submission.task}-caretaker"}),
            dependencies=(Dependency("afterany" if until_queued else "afternotok", (LAST_BLOCK,)),),
        )

    def block(self, submission: Submission, block: Block, options: Options, after: tuple[Dependency, ...]) -> Request:
        """The request that queues a block."""
        return Request(
            script=f"{self.store.directory(submission.key)}/{SCRIPT}",
            comment=tag(submission.key, block),
            log=self._logs(submission.key, block),
            block=block,
            options=_named(submission, options),
            dependencies=after,
            waits=submission.workflow is not None,
            cluster=self._cluster(submission.key, options, after),
        )

    def blocks(
        self, submission: Submission, options: Options, *, links: Mapping[str, str] | None = None
    ) -> Sequence[Request]:
        """A request for each block. Raises SubmissionError for a large map where there are no arrays.

        `links` are placeholders for the ids of upstreams that the same command queues, by their keys.
        """
        if submission.elements > _MOST_JOBS and not self.queue.max_array_size:
            raise SubmissionError(
                f"{submission.task}: {submission.elements} elements are too many where Slurm has no job arrays "
                f"(MaxArraySize=0). Each would be a job of its own, and at most {_MOST_JOBS} are submitted at once: "
                f"let an element make several calls, with chunk_size={-(-submission.count // _MOST_JOBS)}"
            )
        edges: Sequence[Edge] = [edge for edge in submission.dependencies if edge.key not in (links or ())]
        linked = dependencies.on_links(submission.dependencies, links or {})
        upstreams = [self.registry.get(edge.key) for edge in edges]
        self._list_outcomes(upstreams)
        for upstream in upstreams:
            if upstream.unfinished and (elsewhere := upstream.elsewhere(self.queue.here)):
                raise SubmissionError(f"{submission.key} cannot wait here for {upstream.key}: {elsewhere.reason}")
        outside = (*linked, *self._outside(self.queue, submission))
        if not dependencies.queued(edges, self.registry.get):
            return []
        # max_concurrent limits one array only, so several arrays run one after the other.
        in_turn = (Dependency("afterany", (LAST_BLOCK,)),) if options.get("max_concurrent") else ()
        requests = [
            self.block(
                submission,
                block,
                options,
                dependencies.of_block(edges, block, self.registry.get) + outside + (in_turn if block.first else ()),
            )
            for block in self.queue.blocks(submission)
        ]
        return _on_one_cluster(submission.key, requests) if in_turn else requests

    def _cluster(self, key: str, options: Options, after: Iterable[Dependency]) -> str:
        """The cluster for a job that waits for others, if its options allow several clusters; "" if any can be used.

        Slurm has no dependencies between clusters: the job would wait for a job with the same number on its own
        cluster. Raises SubmissionError if no cluster fits.
        """
        names = {cluster for item in after for cluster in item.clusters}
        allowed = self.queue.scheduler.parse_clusters(self.queue.limits, options) if names else ()
        here = self.queue.origin.cluster if names and self.queue.origin else ""
        goes = set(allowed) or {here}
        if not names or (names == {here} and not allowed):
            return ""
        if len(names) == 1 and names <= goes:
            return names.pop()
        raise SubmissionError(
            f"{key} waits for jobs on cluster {', '.join(sorted(names))} and goes to {', '.join(sorted(goes))}, and no "
            "job can wait for one on another cluster: pass job.result() instead of the job, or give both the same "
            "clusters="
        )

    def _logs(self, key: str, block: Block) -> str:
        """The scheduler's pattern for the logs of a block."""
        task = "0" if block.array is False else "%a"
        return f"{self.store.directory(key).replace('%', '%%')}/{LOGS}/{log_name(block.first, task)}"


def _on_one_cluster(key: str, requests: Sequence[Request]) -> Sequence[Request]:
    """Put arrays that run in turn on one cluster. Raises SubmissionError if they wait for several clusters."""
    names = {request.cluster for request in requests} - {""}
    if len(names) > 1:
        raise SubmissionError(
            f"{key} has max_concurrent, so its {len(requests)} arrays run one after the other on one cluster, and they "
            f"wait for jobs on {', '.join(sorted(names))}: pass results instead of jobs, or leave out max_concurrent"
        )
    return [replace(request, cluster=name) for request in requests for name in names] or requests


def _named(submission: Submission, options: Options) -> Options:
    """Add the name of the task, and the signal before the time limit."""
    lead = options.get("signal_lead")
    ahead = {"signal": f"B:{_stop_signal(options)}@{lead}"} if lead else {}
    return Options.parse({"job_name": submission.task, **ahead}).merged(options)


def _stop_signal(options: Options) -> str:
    return str(options.get("stop_signal") or "USR1")


def chunk_size(options: Options) -> int:
    """The number of calls that an element of a map makes."""
    size = options.get("chunk_size")
    return int(options.get("workers") or 1) if size in (None, "auto") else int(size)


def launch_words(scheduler: type[Scheduler], options: Options) -> tuple[str, ...] | None:
    """The words that start an MPI program; None for other calls."""
    if options.get("launch") != "mpi":
        return None
    words = scheduler.launch(ntasks(options.get), str(options.get("mpi") or ""))
    return (*words, *srun_words(scheduler, options))


def srun_words(scheduler: type[Scheduler] | Scheduler, options: Options) -> Sequence[str]:
    """The words of the option `srun` for the launcher of a scheduler; none if the scheduler has no launcher."""
    words = options.get("srun")
    return shlex.split(words) if scheduler.launcher and isinstance(words, str) else ()


def several_ranks(options: Options) -> bool:
    """Whether a call runs, or may run, in several processes: only the scheduler knows their number."""
    return options.get("launch") not in _IN_ONE_PROCESS and _asks_for_ranks(options)


def check_launch(name: str, options: Options) -> None:
    """Raise OptionError for options that need several processes, if a call runs in one process of several tasks."""
    launch = options.get("launch")
    if launch in _IN_ONE_PROCESS and _asks_for_ranks(options):
        for option in ("gather", "workers"):
            if options.get(option):
                raise OptionError(
                    f"{name} runs once in an allocation of several tasks (launch={launch!r}), "
                    f"so it cannot have {option}"
                )


def _asks_for_ranks(options: Options) -> bool:
    if options.get("gather"):
        return True
    if tasks := options.get("ntasks"):
        return tasks != "1"
    of_gpus = options.get("ntasks_per_gpu") or (options.get("gpus") and options.get("gpus_per_task"))
    return bool(of_gpus) or options.get("nodes") not in (None, "1") or ntasks(options.get) > 1


def _workers(options: Options, chunk: int) -> int:
    """The number of calls of an element that run in parallel; 0 for an element of one call."""
    return min(int(options.get("workers") or 0), chunk) if chunk > 1 else 0
