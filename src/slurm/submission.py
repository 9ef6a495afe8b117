"""From calls of a task to a submission: pickle, describe, render, store, queue."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import time
from typing import TYPE_CHECKING, Any, TypeVar

import cloudpickle

from slurm import dependencies
from slurm.array import JobArray
from slurm.errors import OptionError, SubmissionError
from slurm.options import Options
from slurm.protocol import LOGS, SCRIPT, Submission, log_name
from slurm.schedulers.base import Request, tag
from slurm.script import render
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
    return _queue(backend, submission, pickled.calls, options)


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
    return _queue(backend, submission, backend.store.calls(key, indices), Options.parse(submission.options))


def _queue(backend: Backend, submission: Submission, calls: Calls, options: Options) -> JobArray[Any]:
    requests = _requests(backend, submission, options)
    directory = backend.create(submission, calls, _script(backend, submission, options))
    submitted = backend.controller.submit(directory, submission.key, requests)
    return JobArray(backend, backend.tracker.watch(submission, submitted), range(submission.count))


def preview(backend: Backend, task: Task[..., Any], count: int, *, options: Options, environment: Prepared) -> str:
    """The script that a submission of `count` calls would have."""
    key = new_key(task.name)
    submission = _describe(task.name, key, count, mapped=count > 1, edges=(), options=options, environment=environment)
    return _script(backend, submission, options)


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
    named = Options.parse({"job_name": submission.task}).merged(options)
    chdir, cpus = options.get("chdir"), options.get("cpus_per_task")
    first, count = backend.spans(submission)[0]
    return render(
        directives=backend.scheduler.directives(
            named, tag=submission.key, log=_log(backend, submission.key, first), count=count
        ),
        environment=submission.environment,
        root=backend.store.root,
        runner=backend.runner,
        key=submission.key,
        chdir=chdir if isinstance(chdir, str) else None,
        cpus=cpus if isinstance(cpus, str) else None,
        chunk=submission.chunk,
    )


def _requests(backend: Backend, submission: Submission, options: Options) -> Sequence[Request]:
    """One for each block that the scheduler takes as an array."""
    spans = backend.spans(submission)
    if len(spans) > 1 and options.get("max_concurrent"):
        message = (
            f"max_concurrent holds within one array, and {submission.count} calls need {len(spans)} of at most "
            f"{spans[0][1]} elements: fold calls together with chunk_size, or map in parts"
        )
        raise OptionError(message)
    edges: Sequence[Edge] = submission.dependencies
    backend.tracker.look([backend.watch(edge.key) for edge in edges])
    return [
        Request(
            script=f"{backend.store.directory(submission.key)}/{SCRIPT}",
            comment=tag(submission.key, first),
            log=_log(backend, submission.key, first),
            first=first,
            count=count,
            options=options,
            dependencies=dependencies.of_block(edges, first, backend.watch),
        )
        for first, count in spans
    ]


def _chunk(options: Options) -> int:
    return int(options.get("chunk_size") or 1)


def _log(backend: Backend, key: str, first: int) -> str:
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
