"""Submit calls of a task: pickle them, describe the submission, render its script, store and queue it."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import OptionError, SubmissionError
from slurm.jobs.launching import check_ranks
from slurm.jobs.plan import Draft
from slurm.jobs.queueing import queue
from slurm.options import Options
from slurm.options.retry import of_options
from slurm.protocol import CLIENTS, Functions, Retried, Submission
from slurm.protocol.ranges import in_order
from slurm.serialization.pickling import Function, Pickled, pickle_callbacks, pickle_calls
from slurm.storage.keys import name_of_batch, new_key
from slurm.storage.uploads import Uploads
from slurm.submission import client, dependencies, external_jobs, requests
from slurm.submission.submission_state import SubmissionState
from slurm.tasks.settings import Settings
from slurm.tasks.task import REDUCERS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from slurm.callbacks.base import Callback
    from slurm.jobs.queueing import Record
    from slurm.places.place import Place
    from slurm.protocol import Edge, ExternalJob, ResolvedEnvironment
    from slurm.serialization.calls import Calls
    from slurm.serialization.pickling import Arguments, Reference
    from slurm.tasks.task import Task


class Wanted(NamedTuple):
    """Calls of a task, with everything that decides how they run."""

    task: Task[..., Any]
    calls: Iterable[Arguments]
    mapped: bool
    """Whether they are the calls of a map, of any size."""
    settings: Settings
    environment: ResolvedEnvironment
    defaults: Settings = Settings()
    """The part of the settings that the tasks of a workflow share."""
    key: str | None = None
    """The key of the submission, if the caller has recorded one; None for a new key."""
    batch: Batched | None = None
    """The tasks of a batch, of which `task` is the first; None if all calls are of `task`."""


class Batched(NamedTuple):
    """The tasks of a batch, each once, and for each call the number of its task."""

    tasks: tuple[Task[..., Any], ...]
    of_calls: tuple[int, ...]

    @property
    def functions(self) -> Functions:
        """The record of the tasks."""
        return Functions(names=tuple(task.name for task in self.tasks), calls=self.of_calls)

    def of_some(self, calls: Sequence[int]) -> Batched:
        """Return only some of the calls, and their tasks."""
        numbers = sorted({self.of_calls[call] for call in calls})
        return Batched(
            tuple(self.tasks[number] for number in numbers),
            tuple(numbers.index(self.of_calls[call]) for call in calls),
        )


def submit(place: Place, wanted: Wanted, *, record: Record | None = None) -> SubmissionState:
    """Submit calls as one submission. Without calls, nothing is submitted. `record` is as for `submit_draft`.

    Raises NotPicklable, SubmissionRefused, SchedulerNotFound or TransportError; then nothing runs.
    """
    return submit_draft(place, describe(place, wanted), wanted.settings.callbacks, record=record)


def submit_draft(
    place: Place,
    draft: Draft,
    callbacks: Sequence[Callback],
    *,
    looked_up: bool = False,
    record: Record | None = None,
) -> SubmissionState:
    """Submit what `describe` has described. `looked_up` says that no equal call was known (`reuse`).

    In a workflow, other submissions are found again by their content when the workflow continues. `record` is called
    with the key and the commands just before a submission is made, but not if an earlier one is found. `record` may
    raise NumberTaken.
    """
    if draft.submission.count == 0:
        return SubmissionState(draft.submission.key, 0, None, mapped=True)
    place.blobs.send(draft.uploads)
    return queue(place, draft.submission, draft.calls, draft.options, callbacks, looked_up=looked_up, record=record)


def describe(place: Place, wanted: Wanted, *, earlier: Draft | None = None, uploads: Uploads | None = None) -> Draft:
    """Describe the submission of calls, and pickle them. Writes nothing.

    If there is an `earlier` draft of the same calls, its key is used, and its pickles, unless the modules of the
    environment differ. Files that are in `uploads` already are not read again.
    """
    task, calls, mapped, settings, environment, defaults, key, batch = wanted
    tasks, name = (batch.tasks, name_of_batch(each.name for each in batch.tasks)) if batch else ((task,), task.name)
    options = settings.options

    def known(key: str) -> SubmissionState:  # a plan may be made where the root is not known
        return place.registry.get(key)

    upstreams = [(upstream, on) for upstream, on in task.upstreams if not isinstance(upstream, str)]
    _refuse_foreign([frozenset(placeholder.reference for placeholder, _ in upstreams)], place)
    named = dependencies.declared(upstreams, known)
    for each in tasks:
        check_ranks(each, options, environment, mapped=mapped)
    if earlier is not None and earlier.modules == environment.modules:
        pickled, uploads = earlier.pickled, earlier.uploads
    else:
        uploads = uploads or Uploads()
        head = _head_of_batch(tasks, name, uploads) if batch else head_of(task, uploads)
        head = head._replace(edges=dependencies.to_check(named, known))
        numbered = ((*call, number) for call, number in zip(calls, batch.of_calls, strict=True)) if batch else calls
        pickled = pickle_calls(head, numbered, reducers=_reducers(uploads), there=environment.modules)
    count = len(pickled.references)
    _refuse_foreign(pickled.references, place)
    references = uploads.without_puts(pickled.references)
    chunk = requests.chunk_size(options)
    edges = [*(dependencies.referred(references, known, chunk=chunk) if any(references) else ()), *named]
    key = earlier.submission.key if earlier else key or new_key(name)
    submission = _describe(name, key, count, mapped=mapped, edges=edges, options=options, environment=environment)
    submission = submission.replace(
        after=external_jobs.declared(task.upstreams),
        blobs=uploads.recorded,
        launch=requests.launch_words(place.scheduler_class, options),
        functions=batch.functions if batch else None,
    )
    if task.is_workflow:
        submission = submission.replace(workflow=_workflow(place, submission, defaults.options))
    hooks = pickle_callbacks(
        settings.on_a_node().callbacks, cluster=defaults.callbacks, reducers=REDUCERS, there=environment.modules
    )
    submission = _followed(place, submission, options).replace(callbacks=bool(hooks))
    return Draft(submission, pickled, pickled.calls._replace(callbacks=hooks), uploads, options, environment.modules)


def describe_pickled(  # noqa: PLR0913 - each by its name
    place: Place,
    key: str,
    task: str,
    calls: Calls,
    *,
    count: int,
    edges: Sequence[Edge],
    options: Options,
    environment: ResolvedEnvironment,
    uploads: Uploads,
) -> Draft:
    """Describe the submission of a map whose calls are pickled already. Writes nothing."""
    submission = _describe(task, key, count, mapped=True, edges=edges, options=options, environment=environment)
    launch = requests.launch_words(place.scheduler_class, options)
    submission = submission.replace(blobs=uploads.recorded, launch=launch, callbacks=bool(calls.callbacks))
    submission = _followed(place, submission, options)
    return Draft(submission, Pickled(calls, ()), calls, uploads, options, environment.modules)


def pickle_function(task: Task[..., Any], uploads: Uploads, *, there: Collection[str]) -> Calls:
    """Pickle the part that all calls of a task share, without any call. Pickled arguments of calls may follow it."""
    return pickle_calls(head_of(task, uploads), (), reducers=_reducers(uploads), there=there).calls


def head_of(task: Task[..., Any], uploads: Uploads) -> Function:
    """The part that all calls of a task share, without dependencies. Adds the files that it needs to the uploads."""
    return Function(
        function=task.to_send(uploads),
        name=task.name,
        parameters=task.places,
        context=task.context_parameter,
        edges=(),
        workflow=task.is_workflow,
    )


def _head_of_batch(tasks: Sequence[Task[..., Any]], name: str, uploads: Uploads) -> Function:
    heads = tuple(head_of(task, uploads) for task in tasks)
    functions, contexts = tuple(head.function for head in heads), tuple(head.context for head in heads)
    return heads[0]._replace(function=functions, name=name, parameters=(), context=contexts, several=heads)


def resubmit(place: Place, key: str, indices: Sequence[int], options: Options) -> SubmissionState:
    """Submit some calls of an earlier submission again, as a new one. `options` override the options that it had."""
    before = place.store.records(key).submission
    submission = _describe(
        before.task,
        new_key(before.task),
        len(indices),
        mapped=before.mapped,
        edges=[dependencies.of_some(edge, indices) for edge in before.dependencies],
        options=Options.parse({**before.options, "labels": before.labels or {}}).merged(options),
        environment=before.environment,
    ).replace(
        functions=before.functions and before.functions.of_some(indices),
        workflow=before.workflow,
        after=_still_open(place, before, indices),
        blobs=before.blobs,
        retried=Retried(key=key, calls=in_order(indices)),
    )
    options = Options.parse(submission.options)
    submission = submission.replace(launch=requests.launch_words(place.scheduler_class, options))
    calls = place.store.calls(key, indices)
    return queue(place, _followed(place, submission, options), calls, options, place.subscriptions.callbacks(key))


def _still_open(place: Place, before: Submission, indices: Sequence[int]) -> tuple[ExternalJob, ...] | None:
    """The external jobs that calls still wait for when they are submitted again: none if one of the calls has begun."""
    outcomes = place.store.outcomes(before.key, indices, chunk=before.chunk) if before.after else {}
    return None if any(outcome.started is not None for outcome in outcomes.values()) else before.after


def _reducers(uploads: Uploads) -> Mapping[type, Callable[[Any], tuple[Any, ...]]]:
    """How tasks are pickled. A command is pickled with the files that it needs, which are added to the uploads."""
    commands = sys.modules.get("slurm.tasks.command")
    return {**REDUCERS, commands.CommandTask: partial(commands.with_files, uploads)} if commands else REDUCERS


def _workflow(place: Place, submission: Submission, defaults: Options) -> dict[str, Any]:
    """The class of a workflow's cluster, and the values from which it is made on the node."""
    if submission.chunk > 1:
        raise OptionError(
            f"{submission.task} is a workflow, of which an element makes one call: leave out chunk_size and workers"
        )
    return {
        "cluster": "slurm.clusters.workflow_cluster:WorkflowCluster",
        "scheduler": place.url.scheduler,
        "options": defaults.to_json(),
        "setup": list(place.spec.setup),
    }


def describe_without_calls(
    task: Task[..., Any], count: int, *, options: Options, environment: ResolvedEnvironment
) -> Submission:
    """Describe a submission of `count` calls whose arguments are not known."""
    key = new_key(task.name)
    return _describe(task.name, key, count, mapped=count > 1, edges=(), options=options, environment=environment)


def _followed(place: Place, submission: Submission, options: Options) -> Submission:
    """The submission with a note whether its elements may run again, for example because their upstreams may."""
    retry = of_options(options.get)
    if retry is not None:
        retry.check(options.get)
    upstreams = (place.registry.get(edge.key).continues for edge in submission.dependencies)
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
    labels = {name: value for name, value in options.labels.items() if value is not None}
    return Submission(
        key=key,
        task=task,
        count=count,
        chunk=requests.chunk_size(options) if mapped else 1,
        mapped=mapped,
        options={name: value for name, value in options.to_json().items() if name != "labels"},
        labels=labels or None,
        environment=environment,
        dependencies=tuple(edges),
        client=client.process(),
        versions=client.versions(),
        created=time.time(),
    )


def _refuse_foreign(references: Iterable[frozenset[Reference]], place: Place) -> None:
    here = str(place.url)
    for reference in frozenset().union(*references):
        if f"/{CLIENTS}/" in reference.key:
            raise SubmissionError(f"a job cannot wait for calls of the pool {reference.key}: wait for them before")
        if reference.home != here:
            what = "what was put" if reference.kind == "put" else "job"
            raise SubmissionError(
                f"{what} {reference.key} is on {reference.home}, and this call goes to {here}, where nobody can wait "
                "for it or read its result: pass job.result() instead"
            )
