"""DeferredSubmission: queue elements that did not fit into the queue, block by block, as soon as there is room."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from slurm.errors import SubmissionRefused, TransportError
from slurm.options import Options
from slurm.protocol import CARETAKER, FAILED, OUTCOMES, QUEUE, RESOLVE, Block, outcome_name
from slurm.protocol.outcomes import ErrorRecord, Outcome
from slurm.protocol.states import JobState
from slurm.submission import dependencies, external_jobs
from slurm.tracking import attempts
from slurm.tracking.attempts import Claim

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from slurm.errors import SlurmError
    from slurm.protocol import Submission
    from slurm.schedulers.base import Dependency
    from slurm.submission.requests import Requests
    from slurm.submission.submission_state import SubmissionState

_BLOCKS = re.compile(r"\d+\.0-")
"""The names in `attempts/` of claims on blocks that waited: the attempt in their names is 0."""
_BEGUN = (JobState.RUNNING, JobState.SUSPENDED, JobState.COMPLETING)
_SAMPLE = 64
"""The most outcomes that are read to find an element that has begun."""


class DeferredSubmission:
    """Queues elements that wait for room. Claims of other processes are abandoned after `abandoned_after` seconds."""

    def __init__(self, requests: Requests, *, abandoned_after: float, refusals_are_final: bool) -> None:
        self._requests, self._store, self._queue = requests, requests.store, requests.queue
        self._abandoned_after, self._refusals_are_final = abandoned_after, refusals_are_final

    def advance(self, watched: SubmissionState) -> None:
        """Queue as many elements as there is room for. Does nothing if another process does it, or all have ended.

        If the scheduler does not report how much room there is, tries smaller and smaller blocks.
        """
        submission = self._store.records(watched.key).submission
        names = filter(_BLOCKS.match, self._store.attempts(watched.key))
        _learn(watched, attempts.blocks(self._store, watched.key, names))
        options = Options.parse(submission.options)
        if not watched.unqueued or all(map(watched.element_finished, watched.unqueued)):
            return
        if not dependencies.queued(submission.dependencies, partial(self._requests.registry.upstream, watched)):
            return
        room = self._queue.client.room(options)
        most = min(len(watched.unqueued), self._queue.blocks(submission)[0].count)
        count = most if room is None else min(most, room)
        if count == room and (count < len(watched.unqueued) or submission.continues):
            # One place is for the retry job, which queues the rest when no client runs. But if the user may queue only
            # one job, there is no place for it.
            count -= count > 1 or any(element not in watched.unqueued for element in watched.open)
        if count < 1:
            return
        begun = bool(submission.after) and self._has_begun(watched)
        outside = external_jobs.later_dependencies(self._queue, submission, begun=begun)
        if outside is None:
            return
        if outside[1]:
            error = ErrorRecord(type="DependencyFailed", message=outside[1], bases=("DependencyFailed",))
            self.end(watched, Outcome(status=FAILED, phase=RESOLVE, exit_code=1, error=error))
            return
        try:
            self._submit(submission, watched, options, count, outside[0])
        except SubmissionRefused as error:
            self.give_up(watched, error)

    def give_up(self, watched: SubmissionState, error: SlurmError) -> None:
        """End the waiting elements with an error, unless another host may still queue them."""
        if not self._refusals_are_final:
            return
        name = type(error).__name__
        record = ErrorRecord(type=name, message=str(error), bases=(name,))
        self.end(watched, Outcome(status=FAILED, phase=QUEUE, exit_code=1, error=record))

    def end(self, watched: SubmissionState, outcome: Outcome) -> None:
        """End all waiting elements with one outcome, which they share unless they may have another attempt.

        If another process queues some of them at this moment, each of these gets a file of its own, because a job looks
        only for its own file. `_submit` looks for outcomes after it has written its claim. So either it sees the shared
        outcome, or this method sees its claim.
        """
        waiting = watched.unqueued
        own: Collection[int] = waiting
        if not watched.continues:
            self._store.commit_shared(watched.key, waiting, outcome)
            records = attempts.AttemptRecords(self._store, watched.key, waiting)
            _learn(watched, records.blocks)
            claims = [range(first, first + claim.count) for (first, _), claim in records.claims.items()]
            own = {element for claimed in claims for element in claimed}
        if own:
            self._store.commit(watched.key, OUTCOMES, dict.fromkeys(map(outcome_name, own), outcome.dumps()))

    def _has_begun(self, watched: SubmissionState) -> bool | None:
        """Whether an element has begun, so that no external job is waited for any longer; None if one may begin."""
        reports = (watched.report(element * watched.chunk) for element in watched.open)
        if any(report is not None and report.state in _BEGUN for report in reports):
            return True
        ended = watched.with_outcomes(range(watched.elements))[:_SAMPLE]
        outcomes = self._store.several_outcomes({watched.key: ended})[watched.key].read if ended else {}
        if any(outcome.started is not None for outcome in outcomes.values()):
            return True
        return None if any(element not in watched.unqueued for element in watched.open) else False

    def _submit(
        self,
        submission: Submission,
        watched: SubmissionState,
        options: Options,
        count: int,
        outside: tuple[Dependency, ...],
    ) -> None:
        """Claim and queue the next block. If it does not fit, try a block with half as many elements."""
        requests, store, first = self._requests, self._store, watched.unqueued[0]
        which = (first, 0)
        claim = Claim(
            group=attempts.new_group(*which),
            options=submission.options,
            retries=0,
            reason="there is room",
            count=count,
        )
        submit = self._queue.client.submit_now
        if not attempts.write_claims(store, watched.key, {which: claim}):
            claim = attempts.AttemptRecords(store, watched.key, [first]).claims.get(which, claim)
            if watched.seconds_claimed(claim.group) <= self._abandoned_after:
                return
            submit = self._queue.client.submit_once
        ended = store.done([watched.key])[watched.key]
        if isinstance(ended, TransportError) or ended.issuperset(range(first, first + claim.count)):  # see `end`
            return
        store.add(watched.key, {CARETAKER: requests.retry_job_script(submission, options)})
        array = None if self._queue.has_arrays else False
        block = Block(first=first, count=claim.count, name=claim.group, array=array, origin=self._queue.origin)
        more = first + block.count < watched.elements
        retry_job = requests.retry_job(submission, options, until_queued=True) if more or submission.continues else None
        after = self._dependencies(submission, watched, options, block) + outside
        request = requests.block(submission, block, options, after)
        queued = attempts.submit_claimed(
            store, watched.key, claim.group, [which], submit=submit, request=request, retry_job=retry_job
        )
        watched.queued(queued)
        if not queued and block.count > 1:
            self._submit(submission, watched, options, block.count // 2, outside)

    def _dependencies(
        self, submission: Submission, watched: SubmissionState, options: Options, block: Block
    ) -> tuple[Dependency, ...]:
        """The dependencies of a block. With max_concurrent, which limits one array only, also on the previous block."""
        before = watched.submitted.blocks[-1:] if watched.submitted and options.get("max_concurrent") else ()
        in_turn = tuple(dependencies.on_blocks("afterany", watched, [block]) for block in before)
        known = partial(self._requests.registry.upstream, watched)
        return dependencies.of_block(submission.dependencies, block, known) + in_turn


def _learn(watched: SubmissionState, blocks: Sequence[Block]) -> None:
    """Note the blocks of waiting elements that other processes have queued."""
    watched.queued(sorted(blocks, key=lambda block: block.first))
