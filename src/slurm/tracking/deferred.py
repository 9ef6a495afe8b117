"""Rolling: elements for which the queue had no room are queued as room frees, block after block."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.errors import SubmissionRefused
from slurm.options import Options
from slurm.protocol import CARETAKER, FAILED, OUTCOMES, QUEUE, Block, outcome_name
from slurm.protocol.outcomes import ErrorRecord, Outcome
from slurm.submission import dependencies
from slurm.submission.requests import caretaker, caretaker_script, request
from slurm.tracking import attempts
from slurm.tracking.attempts import Continuation

if TYPE_CHECKING:
    from slurm.errors import SlurmError
    from slurm.places.place import Backend
    from slurm.protocol import Submission
    from slurm.schedulers.base import Dependency
    from slurm.submission.submission_state import SubmissionState


_OURS = re.compile(r"\d+\.0-")


def roll(backend: Backend, watched: SubmissionState) -> None:
    """Queue as much of what waits as there is room for; nothing if somebody else does, or all of it has ended.

    Where the scheduler doesn't tell how much room there is, ever smaller blocks are tried.
    """
    submission = backend.store.records(watched.key).submission
    _learn(backend, watched)
    options = Options.parse(submission.options)
    edges = submission.dependencies
    if not watched.unqueued or all(map(watched.ended, watched.unqueued)):
        return
    if not dependencies.queued(edges, backend.watch):
        return
    room = backend.controller.room(options)
    most = min(len(watched.unqueued), backend.blocks(submission)[0].count)
    # One place is for the caretaker, which goes on with this when no client is there.
    count = most if room is None else min(most, room - 1)
    if count < 1:
        return
    try:
        _queue(backend, submission, watched, options, count)
    except SubmissionRefused as error:
        if backend.refusals_are_final:
            give_up(backend, watched, error)


def _learn(backend: Backend, watched: SubmissionState) -> None:
    """What others have queued meanwhile."""
    found = attempts.blocks(backend.store, watched.key, filter(_OURS.match, backend.store.attempts(watched.key)))
    watched.queued(sorted(found, key=lambda block: block.first))


def _queue(backend: Backend, submission: Submission, watched: SubmissionState, options: Options, count: int) -> None:
    """Queue the next block, if its claim is to be had; of half as many elements, where these find no room."""
    store, first = backend.store, watched.unqueued[0]
    which = (first, 0)
    claim = Continuation(
        group=attempts.new_group(*which),
        options=submission.options,
        retries=0,
        reason="there is room",
        count=count,
    )
    queue = backend.controller.submit_now
    if not attempts.claim(store, watched.key, {which: claim}):
        claim = attempts.AttemptRecords(store, watched.key, [first]).claims.get(which, claim)
        if not attempts.abandoned(watched, claim.group):
            return
        queue = backend.controller.submit_once
    store.add(watched.key, {CARETAKER: caretaker_script(backend, submission, options)})
    array = None if backend.has_arrays else False
    block = Block(first=first, count=claim.count, name=claim.group, array=array, origin=backend.origin)
    more = first + block.count < watched.elements
    try:
        queued = queue(
            attempts.record_path(store, watched.key, claim.group),
            watched.key,
            request(backend, submission, block, options, _after(backend, submission, watched, options, block)),
            caretaker=caretaker(backend, submission, until_queued=True) if more or submission.continues else None,
        )
    except SubmissionRefused:
        attempts.give_back(store, watched.key, claim.group, [which])
        raise
    if queued.blocks:
        watched.queued(queued.blocks)
        return
    attempts.give_back(store, watched.key, claim.group, [which])
    if block.count > 1:
        _queue(backend, submission, watched, options, block.count // 2)


def _after(
    backend: Backend, submission: Submission, watched: SubmissionState, options: Options, block: Block
) -> tuple[Dependency, ...]:
    """What a block waits for; with max_concurrent, which holds within one array only, for the block before, too."""
    before = watched.submitted.blocks[-1:] if watched.submitted and options.get("max_concurrent") else ()
    in_turn = tuple(dependencies.on_blocks("afterany", watched, [block]) for block in before)
    return dependencies.of_block(submission.dependencies, block, backend.watch) + in_turn


def give_up(backend: Backend, watched: SubmissionState, error: SlurmError) -> None:
    """What still waits can't be queued, and not for want of room: it ends so."""
    name = type(error).__name__
    record = ErrorRecord(type=name, message=str(error), bases=(name,))
    outcome = Outcome(status=FAILED, phase=QUEUE, exit_code=1, error=record).dumps()
    backend.store.commit(watched.key, OUTCOMES, {outcome_name(element): outcome for element in watched.unqueued})
