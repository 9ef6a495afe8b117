"""DeferredSubmission: queue elements that did not fit into the queue, block by block, as soon as there is room."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from slurm.errors import SubmissionRefused
from slurm.options import Options
from slurm.protocol import CARETAKER, FAILED, OUTCOMES, QUEUE, Block, outcome_name
from slurm.protocol.outcomes import ErrorRecord, Outcome
from slurm.submission import dependencies
from slurm.tracking import attempts
from slurm.tracking.attempts import Continuation

if TYPE_CHECKING:
    from slurm.errors import SlurmError
    from slurm.protocol import Submission
    from slurm.schedulers.base import Dependency
    from slurm.submission.requests import Requests
    from slurm.submission.submission_state import SubmissionState

_OURS = re.compile(r"\d+\.0-")


class DeferredSubmission:
    """Queues what waits for room. `abandoned_after` is the age in seconds at which another process's claim is void."""

    def __init__(self, requests: Requests, *, abandoned_after: float, refusals_are_final: bool) -> None:
        self._requests, self._store, self._queue = requests, requests.store, requests.queue
        self._abandoned_after, self._refusals_are_final = abandoned_after, refusals_are_final

    def advance(self, watched: SubmissionState) -> None:
        """Queue as many elements as there is room for. Does nothing if another process does it, or all have ended.

        If the scheduler does not report the room, tries ever smaller blocks.
        """
        submission = self._store.records(watched.key).submission
        self._learn(watched)
        options = Options.parse(submission.options)
        if not watched.unqueued or all(map(watched.element_finished, watched.unqueued)):
            return
        if not dependencies.queued(submission.dependencies, partial(self._requests.registry.upstream, watched)):
            return
        room = self._queue.client.room(options)
        most = min(len(watched.unqueued), self._queue.blocks(submission)[0].count)
        # One place is for the retry job, which continues this when no client is there.
        count = most if room is None else min(most, room - 1)
        if count < 1:
            return
        try:
            self._submit(submission, watched, options, count)
        except SubmissionRefused as error:
            self.give_up(watched, error)

    def give_up(self, watched: SubmissionState, error: SlurmError) -> None:
        """End the waiting elements with an error, unless another host may still queue them."""
        if not self._refusals_are_final:
            return
        name = type(error).__name__
        record = ErrorRecord(type=name, message=str(error), bases=(name,))
        outcome = Outcome(status=FAILED, phase=QUEUE, exit_code=1, error=record).dumps()
        self._store.commit(watched.key, OUTCOMES, {outcome_name(element): outcome for element in watched.unqueued})

    def _learn(self, watched: SubmissionState) -> None:
        """Read which blocks other processes have queued."""
        found = attempts.blocks(self._store, watched.key, filter(_OURS.match, self._store.attempts(watched.key)))
        watched.queued(sorted(found, key=lambda block: block.first))

    def _submit(self, submission: Submission, watched: SubmissionState, options: Options, count: int) -> None:
        """Claim and queue the next block; if it does not fit, one of half as many elements."""
        requests, store, first = self._requests, self._store, watched.unqueued[0]
        which = (first, 0)
        claim = Continuation(
            group=attempts.new_group(*which),
            options=submission.options,
            retries=0,
            reason="there is room",
            count=count,
        )
        submit = self._queue.client.submit_now
        if not attempts.claim(store, watched.key, {which: claim}):
            claim = attempts.AttemptRecords(store, watched.key, [first]).claims.get(which, claim)
            if watched.seconds_claimed(claim.group) <= self._abandoned_after:
                return
            submit = self._queue.client.submit_once
        store.add(watched.key, {CARETAKER: requests.retry_job_script(submission, options)})
        array = None if self._queue.has_arrays else False
        block = Block(first=first, count=claim.count, name=claim.group, array=array, origin=self._queue.origin)
        more = first + block.count < watched.elements
        try:
            queued = submit(
                attempts.record_path(store, watched.key, claim.group),
                watched.key,
                requests.block(submission, block, options, self._dependencies(submission, watched, options, block)),
                caretaker=requests.retry_job(submission, until_queued=True) if more or submission.continues else None,
            )
        except SubmissionRefused:
            attempts.give_back(store, watched.key, claim.group, [which])
            raise
        if queued.blocks:
            watched.queued(queued.blocks)
            return
        attempts.give_back(store, watched.key, claim.group, [which])
        if block.count > 1:
            self._submit(submission, watched, options, block.count // 2)

    def _dependencies(
        self, submission: Submission, watched: SubmissionState, options: Options, block: Block
    ) -> tuple[Dependency, ...]:
        """What a block waits for. With max_concurrent, which limits one array only, also the block before."""
        before = watched.submitted.blocks[-1:] if watched.submitted and options.get("max_concurrent") else ()
        in_turn = tuple(dependencies.on_blocks("afterany", watched, [block]) for block in before)
        known = partial(self._requests.registry.upstream, watched)
        return dependencies.of_block(submission.dependencies, block, known) + in_turn
