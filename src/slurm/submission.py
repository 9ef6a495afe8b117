"""From calls of a task to a submission: pickle, describe, render, store, queue."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import cloudpickle

from slurm import dependencies
from slurm.array import JobArray
from slurm.errors import SubmissionError
from slurm.options import Options
from slurm.protocol import LOGS, SCRIPT, Submission, log_name
from slurm.schedulers.base import Request
from slurm.script import render
from slurm.serialization import Function, pickle_calls
from slurm.store import new_key
from slurm.tasks import Task, by_value
from slurm.tracker import Watched

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.backend import Backend
    from slurm.protocol import Edge, Prepared
    from slurm.serialization import Arguments, Reference

R = TypeVar("R")


def submit(
    backend: Backend,
    task: Task[..., R],
    calls: Iterable[Arguments],
    *,
    options: Options,
    environment: Prepared,
) -> JobArray[R]:
    """Submit calls of a task as one submission; none at all makes an empty array, and nothing is submitted.

    Raises NotPicklable, SubmissionRefused, SchedulerNotFound or TransportError; nothing runs then.
    """
    tracker = backend.tracker
    named = dependencies.declared(_own(task.upstreams, backend), tracker.known)
    head = Function(
        function=task.unwrapped,
        name=task.name,
        parameters=tuple(task.signature.parameters),
        context=task.context_parameter,
        edges=dependencies.to_check(named, tracker.known),
    )
    pickled = pickle_calls(head, calls, reducers={Task: by_value})
    count = len(pickled.references)
    key = new_key(task.name)
    if count == 0:
        return JobArray(backend, Watched(key, 0, None), range(0))
    _refuse_foreign(pickled.references, backend)
    edges = [*dependencies.referred(pickled.references, tracker.known), *named]
    plan = _plan(backend, task.name, key, count, edges=edges, options=options, environment=environment)
    directory = backend.store.create(plan.submission, calls=pickled.calls, index=pickled.offsets, script=plan.script)
    submitted = backend.controller.submit(directory, plan.requests)
    return JobArray(backend, tracker.watch(key, count, submitted), range(count))


def preview(backend: Backend, task: Task[..., Any], count: int, *, options: Options, environment: Prepared) -> str:
    """The script that a submission of `count` calls would have."""
    key = new_key(task.name)
    return _plan(backend, task.name, key, count, edges=(), options=options, environment=environment).script


class _Plan(NamedTuple):
    submission: Submission
    requests: Sequence[Request]
    script: str


def _plan(
    backend: Backend, name: str, key: str, count: int, *, edges: Sequence[Edge], options: Options, environment: Prepared
) -> _Plan:
    submission = Submission(
        key=key,
        task=name,
        count=count,
        options=options.to_json(),
        environment=environment,
        dependencies=tuple(edges),
        client=_client(),
        versions=_versions(),
        created=time.time(),
    )
    requests = _requests(backend, submission, options)
    return _Plan(submission, requests, _script(backend, submission, options, requests[0]))


def _script(backend: Backend, submission: Submission, options: Options, first: Request) -> str:
    named = Options.parse({"job_name": submission.task}).merged(options)
    scheduler = backend.controller.scheduler
    chdir = options.get("chdir")
    return render(
        directives=scheduler.directives(named, comment=submission.key, log=first.log, count=first.count),
        environment=submission.environment,
        root=backend.store.root,
        runner=backend.runner,
        key=submission.key,
        chdir=chdir if isinstance(chdir, str) else None,
    )


def _requests(backend: Backend, submission: Submission, options: Options) -> Sequence[Request]:
    """One for each block that the scheduler takes as an array."""
    directory = backend.store.directory(submission.key)
    size = backend.max_array_size if submission.count > 1 else 1
    edges: Sequence[Edge] = submission.dependencies
    backend.tracker.look([backend.tracker.known(edge.key) for edge in edges])
    return [
        Request(
            script=f"{directory}/{SCRIPT}",
            log=f"{directory.replace('%', '%%')}/{LOGS}/{log_name(first, '%a')}",
            first=first,
            count=min(size, submission.count - first),
            options=options,
            dependencies=dependencies.of_block(edges, first, backend.tracker.known),
        )
        for first in range(0, submission.count, size)
    ]


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
        "slurm-tasks": version("slurm-tasks"),
        "python": platform.python_version(),
        "cloudpickle": cloudpickle.__version__,
    }
