"""From calls of a task to a submission: pickle, describe, render, store, queue."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import platform
import socket
import time
from typing import TYPE_CHECKING, Any, TypeVar

import cloudpickle

from slurm.errors import (
    NoSuchJob,
    OptionError,
    SchedulerError,
    SubmissionError,
    SubmissionRefused,
    TransportError,
)
from slurm.jobs.array import JobArray
from slurm.options import Options
from slurm.options.retry import of_options
from slurm.protocol import CARETAKER, SCRIPT, SUBMITTED, Refused, Submission
from slurm.serialization import Function, pickle_callbacks, pickle_calls
from slurm.storage.job_store import new_key
from slurm.submission import dependencies, requests
from slurm.submission.submission_state import SubmissionState
from slurm.tasks.settings import Settings
from slurm.tasks.task import REDUCERS
from slurm.tracking import deferred
from slurm.tracking.recovery import complete
from slurm.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.callbacks.base import Callback
    from slurm.places.place import Backend
    from slurm.protocol import Edge, ResolvedEnvironment
    from slurm.serialization import Arguments, Calls, Reference
    from slurm.tasks.task import Task

R = TypeVar("R")

_log = logging.getLogger(__name__)

_ABANDONED = 10.0
"""Seconds after which a child that another attempt of the workflow was submitting is that of one that died."""


def submit(
    backend: Backend,
    task: Task[..., R],
    calls: Iterable[Arguments],
    *,
    mapped: bool,
    terms: Settings,
    environment: ResolvedEnvironment,
    defaults: Settings | None = None,
) -> JobArray[R]:
    """Submit calls of a task as one submission; none at all makes an empty array, and nothing is submitted.

    `defaults` are those of the terms that the tasks of a workflow have, too.

    Raises NotPicklable, SubmissionRefused, SchedulerNotFound or TransportError; nothing runs then.
    """
    options = terms.options
    named = dependencies.declared(_own(task.upstreams, backend), backend.watch)
    head = Function(
        function=task.unwrapped,
        name=task.name,
        parameters=task.places,
        context=task.context_parameter,
        edges=dependencies.to_check(named, backend.watch),
        workflow=task.is_workflow,
    )
    if requests.several_ranks(options) and (task.is_workflow or (mapped and requests.chunk_size(options) > 1)):
        what = "a workflow is" if task.is_workflow else "chunk_size and workers are of tasks of"
        raise OptionError(f"{what} one process, and {task.name} asks for several (ntasks)")
    if environment.single and requests.several_ranks(options):
        raise OptionError(f"{task.name} asks for several ranks (ntasks), and {environment.single}")
    pickled = pickle_calls(head, calls, reducers=REDUCERS, there=environment.modules)
    count = len(pickled.references)
    key = new_key(task.name)
    if count == 0:
        return JobArray(backend, SubmissionState(key, 0, None, mapped=True), range(0))
    _refuse_foreign(pickled.references, backend)
    edges = [*dependencies.referred(pickled.references, backend.watch, chunk=requests.chunk_size(options)), *named]
    submission = _describe(task.name, key, count, mapped=mapped, edges=edges, options=options, environment=environment)
    defaults = defaults or Settings()
    if task.is_workflow:
        submission = submission.replace(workflow=_workflow(backend, submission, defaults.options))
    hooks = pickle_callbacks(
        terms.on_a_node().callbacks, cluster=defaults.callbacks, reducers=REDUCERS, there=environment.modules
    )
    made = pickled.calls._replace(callbacks=hooks)
    return _queue(backend, _followed(backend, submission, options), made, options, terms.callbacks)


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
    ).replace(workflow=before.workflow)
    options = Options.parse(submission.options)
    feed = backend.watch(key).feed
    callbacks = feed.callbacks if feed else ()
    calls = backend.store.calls(key, indices)
    return _queue(backend, _followed(backend, submission, options), calls, options, callbacks)


def _workflow(backend: Backend, submission: Submission, defaults: Options) -> dict[str, Any]:
    """What a workflow's cluster is made by and from, on the node."""
    if submission.chunk > 1:
        raise OptionError(
            f"{submission.task} is a workflow, of which an element makes one call: leave out chunk_size and workers"
        )
    return {
        "cluster": "slurm.clusters.workflow_cluster:WorkflowCluster",
        "scheduler": backend.url.scheduler,
        "options": defaults.to_json(),
        "setup": list(backend.spec.setup),
    }


def _queue(
    backend: Backend, submission: Submission, calls: Calls, options: Options, callbacks: Sequence[Callback]
) -> JobArray[Any]:
    """Queue a submission; in a workflow, one that an earlier attempt of it has queued is found instead."""
    submission = submission.replace(callbacks=bool(calls.callbacks))
    family = backend.family
    if family is None:
        return _queue_new(backend, submission, calls, options, callbacks)
    name, key = family.claim(submission, calls)
    earlier = None if key == submission.key else _found(backend, key)
    if earlier is not None:
        if callbacks:
            backend.feeds.attach(earlier, callbacks)
        return JobArray(backend, earlier, range(earlier.count))
    try:
        return _queue_new(backend, submission.replace(key=key, parent=family.parent), calls, options, callbacks)
    except SubmissionError as error:
        if not isinstance(error, SubmissionRefused) or error.certain:  # else the next attempt looks for the same key
            family.withdraw(name)
        raise


def _found(backend: Backend, key: str) -> SubmissionState | None:
    """What an earlier attempt has submitted under a key; None if it died before it had.

    One that is being submitted just now is waited for: on a node that was given up, that attempt may live on.
    """
    end = time.monotonic() + _ABANDONED
    while True:
        with contextlib.suppress(NoSuchJob):
            watched = backend.watch(key)
            if watched.submitted is None and time.monotonic() > end:
                complete(backend, [watched])
            if watched.submitted is not None:
                return watched
        if time.monotonic() > end:
            return None
        time.sleep(0.2)


def _queue_new(
    backend: Backend, submission: Submission, calls: Calls, options: Options, callbacks: Sequence[Callback]
) -> JobArray[Any]:
    asked = requests.blocks(backend, submission, options)
    scripts = {SCRIPT: requests.script(backend, submission, options)}
    if submission.continues:
        scripts[CARETAKER] = requests.caretaker_script(backend, submission, options)
    directory = backend.create(submission, calls, scripts)
    cares = requests.caretaker(backend, submission) if submission.continues else None
    try:
        submitted = backend.controller.submit(f"{directory}/{SUBMITTED}", submission.key, asked, caretaker=cares)
    except SubmissionRefused as error:
        if error.certain and backend.family is None:  # another attempt of a workflow may queue it under the same key
            with contextlib.suppress(TransportError):
                backend.store.refuse(submission.key, Refused(scheduler=backend.scheduler.name, words=error.output))
        raise
    watched = backend.tracker.watch(submission, submitted)
    if callbacks:
        backend.feeds.attach(watched, callbacks, submitted=submission)
    if watched.unqueued:
        try:
            deferred.roll(backend, watched)
        except (SchedulerError, TransportError) as error:
            _log.warning("%s waits for room in the queue: %s; trying again", submission.key, error)
        backend.tracker.follow()
    return JobArray(backend, watched, range(submission.count))


def preview(
    backend: Backend, task: Task[..., Any], count: int, *, options: Options, environment: ResolvedEnvironment
) -> str:
    """The script that a submission of `count` calls would have."""
    key = new_key(task.name)
    submission = _describe(task.name, key, count, mapped=count > 1, edges=(), options=options, environment=environment)
    return requests.script(backend, submission, options)


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
    environment: ResolvedEnvironment,
) -> Submission:
    return Submission(
        key=key,
        task=task,
        count=count,
        chunk=requests.chunk_size(options) if mapped else 1,
        mapped=mapped,
        options=options.to_json(),
        environment=environment,
        dependencies=tuple(edges),
        client=_client(),
        versions=_versions(),
        created=time.time(),
    )


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
        "user": _user(),
        "pid": os.getpid(),
        "directory": os.getcwd(),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container nobody may know the name of who runs it
        return str(os.getuid())


def _versions() -> dict[str, str]:
    return {
        "slurm-tasks": __version__,
        "python": platform.python_version(),
        "cloudpickle": cloudpickle.__version__,
    }
