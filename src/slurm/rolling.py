"""Rolling: elements for which the queue had no room are queued as room frees, block after block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm import dependencies
from slurm.continuation import abandoned
from slurm.errors import SubmissionRefused
from slurm.options import Options
from slurm.protocol import (
    ATTEMPTS,
    CARETAKER,
    FAILED,
    OUTCOMES,
    QUEUE,
    Block,
    Continuation,
    ErrorRecord,
    Outcome,
    Submitted,
    blocks_name,
    continuation_name,
    outcome_name,
)

if TYPE_CHECKING:
    from slurm.backend import Backend
    from slurm.protocol import Submission
    from slurm.watched import Watched


def roll(backend: Backend, watched: Watched) -> None:
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
        if backend.has_last_word:
            _give_up(backend, watched, error)


def _learn(backend: Backend, watched: Watched) -> None:
    """What others have queued meanwhile."""
    groups = [name for name in backend.store.attempts(watched.key) if name.endswith(f".{blocks_name('0')}")]
    data = backend.store.told(watched.key, groups)
    found = [block for name, text in data.items() for block in Submitted.loads(text, where=name).blocks]
    watched.queued(sorted(found, key=lambda block: block.first))


def _queue(backend: Backend, submission: Submission, watched: Watched, options: Options, count: int) -> None:
    """Queue the next block, if its claim is to be had; it is given back where even one element finds no room."""
    from slurm.submission import caretaker, caretaker_script, request  # noqa: PLC0415 - they stand above this module

    first = watched.unqueued[0]
    name, claim = f"{first}.0", continuation_name(first, 0)
    record = f"{backend.store.directory(watched.key)}/{ATTEMPTS}/{blocks_name(name)}"
    words = Continuation(group=name, options={}, retries=0, reason=f"room for {count}")
    if claim not in backend.store.commit(watched.key, ATTEMPTS, {claim: words.dumps()}):
        if not abandoned(watched, first):
            return
        left = backend.controller.adopt(record, watched.key, [Block(first=first, count=count, name=name)])
        if left is not None:
            watched.queued(left.blocks)
            return
    backend.store.add(watched.key, {CARETAKER: caretaker_script(backend, submission, options)})
    try:
        while count:
            block = Block(first=first, count=count, name=name)
            after = dependencies.of_block(submission.dependencies, block, backend.watch)
            more = first + count < watched.elements
            cares = caretaker(backend, submission, until_queued=True) if more or submission.continues else None
            wanted = request(backend, submission, block, options, after)
            queued = backend.controller.submit(record, watched.key, [wanted], caretaker=cares)
            if queued.blocks:
                watched.queued(queued.blocks)
                return
            count //= 2
    finally:
        if first in watched.unqueued:
            backend.store.withdraw(watched.key, ATTEMPTS, [claim, blocks_name(name)])


def _give_up(backend: Backend, watched: Watched, error: SubmissionRefused) -> None:
    """The scheduler refuses what still waits, and not for want of room: it ends so."""
    record = ErrorRecord(type="SubmissionRefused", message=str(error), bases=("SubmissionRefused",))
    outcome = Outcome(status=FAILED, phase=QUEUE, exit_code=1, error=record).dumps()
    backend.store.commit(watched.key, OUTCOMES, {outcome_name(element): outcome for element in watched.unqueued})
