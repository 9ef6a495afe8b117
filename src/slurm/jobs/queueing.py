"""Queueing: write and queue a described submission, or, by one command, several that run one after the other."""

from __future__ import annotations

import contextlib
import logging
import shlex
import time
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import NoSuchJob, SchedulerError, SubmissionError, SubmissionRefused, TransportError
from slurm.protocol import CARETAKER, SCRIPT, SUBMITTED, Refused
from slurm.schedulers.base import id_of_link
from slurm.schedulers.submit_and_record import Link
from slurm.storage.new_submission import NewSubmission

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slurm.callbacks.base import Callback
    from slurm.options import Options
    from slurm.places.place import Place
    from slurm.protocol import Submission, Submitted
    from slurm.schedulers.base import Request
    from slurm.serialization.calls import Calls
    from slurm.submission.submission_state import SubmissionState
    from slurm.transports.base import Completed

    Record = Callable[[str, Sequence[str]], None]

_log = logging.getLogger(__name__)


class NumberTaken(Exception):
    """Another client has written a record of reuse, perhaps for the same calls, so nothing was submitted."""


class Planned(NamedTuple):
    """A submission to queue. `record` is called just before, with its key and the commands."""

    submission: Submission
    calls: Calls
    options: Options
    callbacks: Sequence[Callback]
    record: Record | None


def queue(
    place: Place,
    submission: Submission,
    calls: Calls,
    options: Options,
    callbacks: Sequence[Callback],
    *,
    looked_up: bool = False,
    record: Record | None = None,
) -> SubmissionState:
    """Queue a submission. In a workflow, a submission that an earlier attempt of the workflow has queued is reused."""
    planned = Planned(submission.replace(callbacks=bool(calls.callbacks)), calls, options, callbacks, record)
    journal = place.on_node.journal if place.on_node else None
    if journal is None:
        return _queue_new(place, planned)
    name, key = journal.claim(planned.submission, calls, alone=looked_up)
    earlier = None if key == submission.key else _found(place, key)
    if earlier is not None:
        if callbacks:
            place.subscriptions.attach(earlier, callbacks)
        return earlier
    try:
        own = planned.submission.replace(key=key, parent=journal.parent)
        return _queue_new(place, planned._replace(submission=own))
    except (SubmissionError, NumberTaken) as error:
        if not isinstance(error, SubmissionRefused) or error.certain:  # else the next attempt looks for the same key
            journal.withdraw(name)
        raise


def _found(place: Place, key: str) -> SubmissionState | None:
    """The submission of an earlier attempt under a key; None if that attempt died before it was submitted.

    Waits for a submission that is in progress: on a node that Slurm has given up, the earlier attempt may still run.
    """
    end = time.monotonic() + place.timings.abandoned_child
    while True:
        with contextlib.suppress(NoSuchJob):
            watched = place.registry.get(key)
            if watched.submitted is None and time.monotonic() > end:
                place.recovery.complete([watched])
            if watched.submitted is not None:
                return watched
        if time.monotonic() > end:
            return None
        time.sleep(0.2)


def _queue_new(place: Place, planned: Planned) -> SubmissionState:
    requests = place.requests.blocks(planned.submission, planned.options)
    if planned.record:
        planned.record(planned.submission.key, _commands(place, requests))
    place.create(_new(place, planned))
    return _submit(place, planned, requests)


def queue_chain(place: Place, chain: Sequence[Planned]) -> None:
    """Queue submissions of one call each, by one command if possible. Later ones may depend on earlier ones.

    The states of the submissions are in the registry, and get their ids. After one is refused, the rest is not queued.
    """
    links = {planned.submission.key: id_of_link(number) for number, planned in enumerate(chain)}
    several = [place.requests.blocks(planned.submission, planned.options, links=links) for planned in chain]
    limits = place.queue.limits
    if any(len(requests) != 1 for requests in several) or any(
        place.scheduler.parse_clusters(limits, planned.options) for planned in chain
    ):
        # An upstream waits for room in the queue; or each job may be on another cluster, which only its id shows.
        for planned in chain:
            _queue_new(place, planned)
        return
    for planned, requests in zip(chain, several, strict=True):
        if planned.record:
            planned.record(planned.submission.key, _commands(place, requests, _names(links)))
    place.create(*(_new(place, planned) for planned in chain))
    queued, answers = place.queue.client.submit_chain([
        Link(_record_of(place, planned), planned.submission.key, request, _retry_job(place, planned))
        for planned, (request,) in zip(chain, several, strict=True)
    ])  # fmt: skip
    ids = {
        link: place.scheduler.split_id(done.blocks[0].id)[0] for link, done in zip(links.values(), queued, strict=False)
    }
    for planned, requests, done in zip(chain, several, queued, strict=False):
        _note_queued(place, planned, done, _commands(place, requests, ids))
    left = chain[len(queued) :]
    for number, (planned, answer) in enumerate(zip(left, answers, strict=True)):
        try:
            _submit(place, planned, place.requests.blocks(planned.submission, planned.options), answer=answer)
        except SubmissionRefused as error:
            _refuse(place, left[number + 1 :] if error.certain else (), f"{planned.submission.key} was refused")
            raise


def _names(links: Mapping[str, str]) -> dict[str, str]:
    """The texts that are recorded for the ids of links that are not known yet, by their placeholders."""
    return {link: f"<id of {key}>" for key, link in links.items()}


def _commands(place: Place, requests: Sequence[Request], ids: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The commands that queue blocks, with ids for placeholders."""
    found = []
    for request in requests:
        words = list(place.scheduler.submit_command(request))
        for link, id_ in (ids or {}).items():
            words = [word.replace(link, id_) for word in words]
        found.append(shlex.join(words))
    return tuple(found)


def _new(place: Place, planned: Planned) -> NewSubmission:
    submission, calls, options, _, _ = planned
    scripts = {SCRIPT: place.requests.script(submission, options)}
    if submission.continues:
        scripts[CARETAKER] = place.requests.retry_job_script(submission, options)
    return NewSubmission(submission, calls, scripts)


def _record_of(place: Place, planned: Planned) -> str:
    return f"{place.store.directory(planned.submission.key)}/{SUBMITTED}"


def _retry_job(place: Place, planned: Planned) -> Request | None:
    return place.requests.retry_job(planned.submission, planned.options) if planned.submission.continues else None


def _submit(
    place: Place, planned: Planned, requests: Sequence[Request], *, answer: Completed | None = None
) -> SubmissionState:
    """Queue a submission whose files are written. `answer` is as for `SchedulerClient.submit`."""
    submission = planned.submission
    try:
        submitted = place.queue.client.submit(
            _record_of(place, planned),
            submission.key,
            requests,
            retry_job=_retry_job(place, planned),
            answer=answer,
        )
    except SubmissionRefused as error:
        if error.certain and not submission.parent:  # another attempt of a workflow may queue it under the same key
            _refuse(place, [planned], error.output)
        raise
    return _note_queued(place, planned, submitted, _commands(place, requests))


def _refuse(place: Place, several: Sequence[Planned], output: str) -> None:
    """Record that submissions are refused, and never queued."""
    for planned in several:
        with contextlib.suppress(TransportError):
            place.store.refuse(planned.submission.key, Refused(scheduler=place.scheduler.name, words=output))


def _note_queued(place: Place, planned: Planned, submitted: Submitted, commands: tuple[str, ...]) -> SubmissionState:
    submission = planned.submission
    watched = place.registry.add(submission, submitted)
    watched.queued_here = commands or ("",)
    if planned.callbacks:
        place.subscriptions.attach(watched, planned.callbacks, submitted=submission)
    if watched.unqueued:
        try:
            place.deferred.advance(watched)
        except (SchedulerError, TransportError) as error:
            _log.warning("%s waits for room in the queue: %s; trying again", submission.key, error)
        place.tracker.follow(watched)
    return watched
