"""What the scheduler is asked to queue for a submission: its script, and a request for each block of its elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.errors import SubmissionError
from slurm.options import NONE, PLACEMENT, Options
from slurm.protocol import CARETAKER, LOGS, SCRIPT, Block, log_name
from slurm.schedulers.base import LAST_BLOCK, Dependency, Request, ntasks, tag
from slurm.submission import dependencies
from slurm.submission.script import Care, Ranks, render, render_caretaker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.places.place import Backend
    from slurm.protocol import Edge, Submission


def script(backend: Backend, submission: Submission, options: Options) -> str:
    """The script of a submission."""
    lead, signal = options.get("signal_lead"), str(options.get("stop_signal") or "USR1")
    ahead = {"signal": f"B:{signal}@{lead}"} if lead else {}
    named = Options.parse({"job_name": submission.task, **ahead}).merged(options)
    chdir, cpus = options.get("chdir"), options.get("cpus_per_task")
    block = backend.blocks(submission)[0]
    return render(
        directives=backend.scheduler.directives(
            named, tag=submission.key, log=_logs(backend, submission.key, block), block=block
        ),
        environment=submission.environment,
        root=backend.store.root,
        runner=backend.runner,
        key=submission.key,
        chdir=chdir if isinstance(chdir, str) else None,
        cpus=cpus if isinstance(cpus, str) else None,
        calls=(submission.chunk, _workers(options, submission.chunk)),
        workflow=submission.workflow is not None,
        care=Care(backend.url.scheduler, signal if lead else None) if submission.continues else None,
        hooked=submission.callbacks,
        ranks=Ranks(backend.scheduler.launcher, bool(options.get("gather"))) if several_ranks(options) else None,
    )


_MOST_JOBS = 100
"""How many elements a submission may have where each is a job of its own: every one is an sbatch."""
_CARE = Block(first=0, count=1, name="caretaker")
_ITS_OWN = {"time": "15", "mem": "512M", "cpus_per_task": "1"}


def caretaker_script(backend: Backend, submission: Submission, options: Options) -> str:
    """The script of a submission's caretaker."""
    care = caretaker(backend, submission)
    kept = {name: options.get(name) for name in PLACEMENT}
    asked = Options.parse({**kept, **_ITS_OWN, "job_name": f"{submission.task}-caretaker"})
    return render_caretaker(
        directives=backend.scheduler.directives(asked, tag=care.comment, log=care.log, block=care.block),
        environment=submission.environment,
        root=backend.store.root,
        runner=backend.runner,
        key=submission.key,
        scheduler=backend.url.scheduler,
    )


def caretaker(backend: Backend, submission: Submission, *, until_queued: bool = False) -> Request:
    """The job that sees to the failed elements of a block when nobody else does; it goes if there are none.

    With `until_queued`, while elements wait for room in the queue, it comes in any case.
    """
    directory = backend.store.directory(submission.key)
    return Request(
        script=f"{directory}/{CARETAKER}",
        comment=tag(submission.key, _CARE),
        log=f"{directory.replace('%', '%%')}/{LOGS}/caretaker.log",
        block=_CARE if backend.has_arrays else _CARE.replace(array=False),
        options=NONE,
        dependencies=(Dependency("afterany" if until_queued else "afternotok", (LAST_BLOCK,)),),
    )


def request(
    backend: Backend, submission: Submission, block: Block, options: Options, after: tuple[Dependency, ...]
) -> Request:
    """What queues a block."""
    return Request(
        script=f"{backend.store.directory(submission.key)}/{SCRIPT}",
        comment=tag(submission.key, block),
        log=_logs(backend, submission.key, block),
        block=block,
        options=options,
        dependencies=after,
        waits=submission.workflow is not None,
        cluster=_cluster(backend, submission.key, options, after),
    )


def _cluster(backend: Backend, key: str, options: Options, after: Iterable[Dependency]) -> str:
    """Where a job must go that waits for others, if its options leave a choice. Raises SubmissionError if it can't.

    Slurm has no dependencies between clusters: it would wait for whatever has the same number on the job's own.
    """
    names = {cluster for item in after for cluster in item.clusters}
    allowed = backend.scheduler.parse_clusters(backend.probe.limits.stdout, options) if names else ()
    here = backend.origin.cluster if names and backend.origin else ""
    goes = set(allowed) or {here}
    if not names or (names == {here} and not allowed):
        return ""
    if len(names) == 1 and names <= goes:
        return names.pop()
    message = (
        f"{key} waits for jobs on cluster {', '.join(sorted(names))} and goes to {', '.join(sorted(goes))}, and no job "
        "can wait for one on another cluster: pass job.result() instead of the job, or give both the same clusters="
    )
    raise SubmissionError(message)


def blocks(backend: Backend, submission: Submission, options: Options) -> Sequence[Request]:
    """One for each block that the scheduler takes. Raises SubmissionError for a large map where there are no arrays."""
    if submission.elements > _MOST_JOBS and not backend.max_array_size:
        message = (
            f"{submission.task}: {submission.elements} elements are too many where Slurm has no job arrays "
            f"(MaxArraySize=0). Each would be a job of its own, and at most {_MOST_JOBS} are submitted at once: "
            f"let an element make several calls, with chunk_size={-(-submission.count // _MOST_JOBS)}"
        )
        raise SubmissionError(message)
    edges: Sequence[Edge] = submission.dependencies
    upstreams = [backend.watch(edge.key) for edge in edges]
    backend.tracker.look(upstreams)
    for upstream in upstreams:
        if upstream.unfinished and (elsewhere := upstream.elsewhere(backend.here)):
            message = f"{submission.key} can't wait here for {upstream.key}: {elsewhere.reason}"
            raise SubmissionError(message)
    if not dependencies.queued(edges, backend.watch):
        return []
    # max_concurrent holds within one array only, so of several one comes after the other.
    in_turn = (Dependency("afterany", (LAST_BLOCK,)),) if options.get("max_concurrent") else ()
    return [
        request(
            backend,
            submission,
            block,
            options,
            dependencies.of_block(edges, block, backend.watch) + (in_turn if block.first else ()),
        )
        for block in backend.blocks(submission)
    ]


def chunk_size(options: Options) -> int:
    """How many calls an element of a map makes."""
    return int(options.get("chunk_size") or options.get("workers") or 1)


def several_ranks(options: Options) -> bool:
    """Whether a call is made by several processes, or may be: how many there are only the scheduler knows."""
    if options.get("gather"):
        return True
    if tasks := options.get("ntasks"):
        return tasks != "1"
    of_gpus = options.get("ntasks_per_gpu") or (options.get("gpus") and options.get("gpus_per_task"))
    return bool(of_gpus) or options.get("nodes") not in (None, "1") or ntasks(options.get) > 1


def _workers(options: Options, chunk: int) -> int:
    """How many calls of an element run side by side: never more than it makes; 0 for one that makes a single call."""
    return min(int(options.get("workers") or 0), chunk) if chunk > 1 else 0


def _logs(backend: Backend, key: str, block: Block) -> str:
    """The scheduler's pattern for the logs of a block."""
    task = "0" if block.array is False else "%a"
    return f"{backend.store.directory(key).replace('%', '%%')}/{LOGS}/{log_name(block.first, task)}"
