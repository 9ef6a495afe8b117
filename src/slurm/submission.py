"""From calls of a task to a submission: pickle, describe, render, store, queue."""

from __future__ import annotations

import getpass
import logging
import os
import platform
import socket
import time
from typing import TYPE_CHECKING, Any, TypeVar

import cloudpickle

from slurm import dependencies, rolling
from slurm.array import JobArray
from slurm.errors import SchedulerError, SubmissionError, TransportError
from slurm.options import NONE, Options
from slurm.protocol import CARETAKER, LOGS, SCRIPT, SUBMITTED, Block, Submission, log_name
from slurm.retry import of_options
from slurm.schedulers.base import LAST_BLOCK, Dependency, Request, tag
from slurm.script import Care, render, render_caretaker
from slurm.serialization import Function, pickle_calls
from slurm.store import new_key
from slurm.tasks import Task, by_value
from slurm.version import __version__
from slurm.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.backend import Backend
    from slurm.protocol import Edge, Prepared
    from slurm.serialization import Arguments, Calls, Reference

R = TypeVar("R")

_log = logging.getLogger(__name__)


def submit(
    backend: Backend,
    task: Task[..., R],
    calls: Iterable[Arguments],
    *,
    mapped: bool,
    options: Options,
    environment: Prepared,
) -> JobArray[R]:
    """Submit calls of a task as one submission; none at all makes an empty array, and nothing is submitted.

    Raises NotPicklable, SubmissionRefused, SchedulerNotFound or TransportError; nothing runs then.
    """
    named = dependencies.declared(_own(task.upstreams, backend), backend.watch)
    head = Function(
        function=task.unwrapped,
        name=task.name,
        parameters=task.places,
        context=task.context_parameter,
        edges=dependencies.to_check(named, backend.watch),
    )
    pickled = pickle_calls(head, calls, reducers={Task: by_value})
    count = len(pickled.references)
    key = new_key(task.name)
    if count == 0:
        return JobArray(backend, Watched(key, 0, None, mapped=True), range(0))
    _refuse_foreign(pickled.references, backend)
    edges = [*dependencies.referred(pickled.references, backend.watch, chunk=_chunk(options)), *named]
    submission = _describe(task.name, key, count, mapped=mapped, edges=edges, options=options, environment=environment)
    return _queue(backend, _followed(backend, submission, options), pickled.calls, options)


def again(backend: Backend, key: str, indices: Sequence[int], options: Options) -> JobArray[Any]:
    """Submit some calls of an earlier submission once more, as a new one; `options` go over those it had."""
    before = backend.store.records(key).submission
    submission = _describe(
        before.task,
        new_key(before.task),
        len(indices),
        mapped=before.mapped,
        edges=[dependencies.of_some(edge, indices) for edge in before.dependencies],
        options=Options.parse(before.options).merged(options),
        environment=before.environment,
    )
    options = Options.parse(submission.options)
    return _queue(backend, _followed(backend, submission, options), backend.store.calls(key, indices), options)


def _queue(backend: Backend, submission: Submission, calls: Calls, options: Options) -> JobArray[Any]:
    requests = _requests(backend, submission, options)
    scripts = {SCRIPT: _script(backend, submission, options)}
    if submission.continues:
        scripts[CARETAKER] = caretaker_script(backend, submission, options)
    directory = backend.create(submission, calls, scripts)
    cares = caretaker(backend, submission) if submission.continues else None
    submitted = backend.controller.submit(f"{directory}/{SUBMITTED}", submission.key, requests, caretaker=cares)
    watched = backend.tracker.watch(submission, submitted)
    if watched.unqueued:
        try:
            rolling.roll(backend, watched)
        except (SchedulerError, TransportError) as error:
            _log.warning("%s waits for room in the queue: %s; trying again", submission.key, error)
        backend.tracker.follow()
    return JobArray(backend, watched, range(submission.count))


def preview(backend: Backend, task: Task[..., Any], count: int, *, options: Options, environment: Prepared) -> str:
    """The script that a submission of `count` calls would have."""
    key = new_key(task.name)
    submission = _describe(task.name, key, count, mapped=count > 1, edges=(), options=options, environment=environment)
    return _script(backend, submission, options)


def _followed(backend: Backend, submission: Submission, options: Options) -> Submission:
    """A submission that knows whether its elements may go on in another job, as what they wait for may."""
    retry = of_options(options)
    if retry is not None:
        retry.check(options)
    upstreams = (backend.watch(edge.key).continues for edge in submission.dependencies)
    return submission.replace(continues=retry is not None or options.get("signal_lead") is not None or any(upstreams))


def _describe(
    task: str,
    key: str,
    count: int,
    *,
    mapped: bool,
    edges: Sequence[Edge],
    options: Options,
    environment: Prepared,
) -> Submission:
    return Submission(
        key=key,
        task=task,
        count=count,
        chunk=_chunk(options) if mapped else 1,
        mapped=mapped,
        options=options.to_json(),
        environment=environment,
        dependencies=tuple(edges),
        client=_client(),
        versions=_versions(),
        created=time.time(),
    )


def _script(backend: Backend, submission: Submission, options: Options) -> str:
    lead, signal = options.get("signal_lead"), str(options.get("stop_signal") or "USR1")
    ahead = {"signal": f"B:{signal}@{lead}"} if lead else {}
    named = Options.parse({"job_name": submission.task, **ahead}).merged(options)
    chdir, cpus = options.get("chdir"), options.get("cpus_per_task")
    block = backend.blocks(submission)[0]
    return render(
        directives=backend.scheduler.directives(
            named, tag=submission.key, log=_logs(backend, submission.key, block.first), block=block
        ),
        environment=submission.environment,
        root=backend.store.root,
        runner=backend.runner,
        key=submission.key,
        chdir=chdir if isinstance(chdir, str) else None,
        cpus=cpus if isinstance(cpus, str) else None,
        calls=(submission.chunk, _workers(options, submission.chunk)),
        care=Care(backend.url.scheduler, signal if lead else None) if submission.continues else None,
    )


_CARE = Block(first=0, count=1, name="caretaker")
_ITS_OWN = {"time": "15", "mem": "512M", "cpus_per_task": "1"}
_INHERITED = ("account", "clusters", "partition", "qos", "reservation", "wckey")
"""Of the options of the task, what a caretaker needs as well: where it may run, and who pays."""


def caretaker_script(backend: Backend, submission: Submission, options: Options) -> str:
    """The script of a submission's caretaker."""
    care = caretaker(backend, submission)
    kept = {name: options.get(name) for name in _INHERITED}
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
        block=_CARE,
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
        log=_logs(backend, submission.key, block.first),
        block=block,
        options=options,
        dependencies=after,
    )


def _requests(backend: Backend, submission: Submission, options: Options) -> Sequence[Request]:
    """One for each block that the scheduler takes as an array."""
    edges: Sequence[Edge] = submission.dependencies
    backend.tracker.look([backend.watch(edge.key) for edge in edges])
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


def _chunk(options: Options) -> int:
    return int(options.get("chunk_size") or options.get("workers") or 1)


def _workers(options: Options, chunk: int) -> int:
    """How many calls of an element run side by side: never more than it makes; 0 for one that makes a single call."""
    return min(int(options.get("workers") or 0), chunk) if chunk > 1 else 0


def _logs(backend: Backend, key: str, first: int) -> str:
    """The scheduler's pattern for the logs of a block."""
    return f"{backend.store.directory(key).replace('%', '%%')}/{LOGS}/{log_name(first, '%a')}"


def _own(upstreams: tuple[Any, ...], backend: Backend) -> tuple[Any, ...]:
    _refuse_foreign([frozenset(placeholder.reference for placeholder, _ in upstreams)], backend)
    return upstreams


def _refuse_foreign(references: Iterable[frozenset[Reference]], backend: Backend) -> None:
    here = str(backend.url)
    for reference in frozenset().union(*references):
        if reference.home != here:
            message = (
                f"job {reference.key} is on {reference.home}, and this call goes to {here}, where nobody can wait "
                "for it or read its result: pass job.result() instead"
            )
            raise SubmissionError(message)


def _client() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "user": getpass.getuser(),
        "pid": os.getpid(),
        "directory": os.getcwd(),
    }


def _versions() -> dict[str, str]:
    return {
        "slurm-tasks": __version__,
        "python": platform.python_version(),
        "cloudpickle": cloudpickle.__version__,
    }
