"""Continuation: an element that failed or stopped goes on in another job, under the same key.

Whoever sees first that it should does it: the element's own script, the client, a caretaker job, or a client that comes
back later. `attempts/` tells them apart: an attempt's own word, then one claim, then the new job's id.
"""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import SubmissionRefused
from slurm.options import Options, retry
from slurm.protocol import PROCESS, RESOLVE, STOPPED, Block
from slurm.protocol.states import JobState
from slurm.submission import dependencies
from slurm.submission.requests import caretaker, request
from slurm.tracking import attempts, exceptions
from slurm.tracking.attempts import Continuation

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Mapping, Sequence

    from slurm.places.place import Backend
    from slurm.protocol import Submission
    from slurm.protocol.outcomes import Outcome
    from slurm.submission.submission_state import FinalStatus, SubmissionState

_log = logging.getLogger(__name__)

_PAUSE = 2.0
"""Seconds before another look, where somebody else, an upstream, or room in the queue is waited for."""


class _Case(NamedTuple):
    """An element without an outcome, whose last attempt has ended, and all that is known of it."""

    element: int
    attempt: int
    outcome: Outcome | None
    ending: FinalStatus
    options: Options
    retries: int
    last: bool
    """Whether nothing may follow: a claim of an attempt before is damaged, so how many there were isn't known."""

    @property
    def waited(self) -> bool:
        """Whether it is something else that failed, and that it waited for."""
        report, outcome = self.ending.report, self.outcome
        by_scheduler = report is not None and report.dependency_failed
        return by_scheduler or (outcome is not None and outcome.phase == RESOLVE)

    def next(self) -> _Plan | None:
        """What comes after it; None if nothing does."""
        outcome, ending = self.outcome, self.ending
        if ending.state is JobState.CANCELLED or self.last:
            return None
        if outcome is not None and outcome.phase == STOPPED:
            return self.plan("checkpoint") if retry.may_restart(self.options, self.attempt) else None
        policy = retry.of_options(self.options)
        if policy is None:
            return None
        failure = exceptions.names(outcome, ending)
        node = (outcome.host if outcome else None) or (ending.report.node if ending.report else None)
        changes = policy.next_options(self.options, failure, tried=self.retries, node=node)
        if changes is None:
            return None
        plan = self.plan(", ".join(sorted(failure & policy.failures)))
        return plan._replace(options=self.options.merged(Options(changes, {})), retries=self.retries + 1)

    def plan(self, reason: str) -> _Plan:
        """The same once more."""
        return _Plan(self.element, self.attempt, self.options, self.retries, reason)

    def last_word(self) -> Outcome | None:
        """The attempt's own word as the element's last; with the scheduler's where that ended it."""
        outcome, ending = self.outcome, self.ending
        if outcome is None:
            return None
        if outcome.phase == STOPPED:
            stopped = outcome.replace(phase=PROCESS, state=JobState.TIMEOUT.value, reason="stopped once too often")
            return None if ending.state is JobState.CANCELLED else stopped
        if exceptions.by_signal(outcome) and ending.state not in (JobState.FAILED, JobState.LOST):
            return outcome.replace(state=ending.state.value, reason=ending.report.reason if ending.report else None)
        return outcome


class _Plan(NamedTuple):
    """What follows an attempt: with which options, the how manieth retry that is, and why."""

    element: int
    attempt: int
    options: Options
    retries: int
    reason: str

    @property
    def common(self) -> tuple[object, ...]:
        """What elements that go on in one job have in common."""
        return self.attempt, self.retries, self.reason, json.dumps(self.options.to_json(), sort_keys=True)


def go_on(
    backend: Backend, watched: SubmissionState, endings: Mapping[int, FinalStatus], waiting: Container[int]
) -> Mapping[int, Outcome | None]:
    """Have elements go on that may, in a job for all that ask for the same; the others, with their own last word.

    Nothing is done yet about those of the `waiting` that have left no word of their own. Those that somebody else sees
    to are not told of either, until that one has or has failed to. Raises SubmissionRefused where that isn't final.
    """
    if time.monotonic() < watched.rests_until:
        return {}
    submission = backend.store.records(watched.key).submission
    told = attempts.AttemptRecords(backend.store, watched.key, endings)
    before = {element: watched.block(element) for element in endings}
    told.move(watched)
    cases, claimed = [], {}
    for element, ending in endings.items():
        attempt = told.attempt(element, watched)
        claim, last = told.claims.get((element, attempt)), told.last_claims.get(element)
        if watched.block(element) != before[element]:
            continue
        if claim is not None:
            claimed[claim.group] = claim
            continue
        outcome = told.outcomes.get((element, attempt))
        if damage := told.damaged.get((element, attempt)):
            if not attempts.abandoned(watched, f"{element}.{attempt}"):  # its job may be known soon
                _pause(watched)
                continue
            outcome = outcome or attempts.unreadable(damage)
        if outcome is not None or element not in waiting:
            options = Options.parse(last.options if last else submission.options)
            retries, none_follows = last.retries if last else 0, any(e == element for e, _ in told.damaged)
            cases.append(_Case(element, attempt, outcome, ending, options, retries, none_follows))
    _take_over(backend, submission, watched, claimed)
    return _decide(backend, submission, watched, cases)


def _decide(
    backend: Backend, submission: Submission, watched: SubmissionState, cases: Sequence[_Case]
) -> Mapping[int, Outcome | None]:
    """Queue what follows; the elements after which nothing does, with their last word."""
    waited = [case.element for case in cases if case.waited]
    on, unsure = _upstreams_go_on(backend, submission, watched, waited) if waited else ((), ())
    plans, ended = [], {}
    for case in cases:
        if case.element in unsure:
            _pause(watched)
            continue
        plan = (
            case.next() if not case.waited else case.plan("what it waits for goes on") if case.element in on else None
        )
        if plan is None:
            ended[case.element] = case.last_word()
        else:
            plans.append(plan)
    words = {case.element: case.last_word for case in cases}
    for group in _grouped(plans, watched, alone=bool(submission.dependencies) or not backend.has_arrays):
        try:
            _queue(backend, submission, watched, group)
        except SubmissionRefused as error:
            if not backend.refusals_are_final:
                raise
            _log.warning("jobs of %s can't go on: %s", watched.key, error)
            ended |= {plan.element: words[plan.element]() for plan in group}
    return ended


def _upstreams_go_on(
    backend: Backend, submission: Submission, watched: SubmissionState, elements: Collection[int]
) -> tuple[Collection[int], Collection[int]]:
    """Of elements for which something failed: those for which it goes on, and those of which that isn't known yet.

    It goes on if it has another attempt, or had one that succeeded.
    """
    upstreams = [backend.watch(edge.key) for edge in submission.dependencies]
    for upstream in upstreams:
        if upstream.unfinished:
            backend.tracker.attend(upstream)
    failed = dependencies.failed_upstreams(
        backend.store, watched.key, elements, unless=lambda key, index: not backend.watch(key).finished(index)
    )
    on = [element for element in elements if element not in failed]
    unsure = {
        element
        for element in on
        for edge, upstream in zip(submission.dependencies, upstreams, strict=True)
        if upstream.missed_since.keys() & dependencies.elements(edge, _calls(submission, element, element), upstream)
    }
    return set(on) - unsure, unsure


def _grouped(plans: Iterable[_Plan], watched: SubmissionState, *, alone: bool) -> Iterable[Sequence[_Plan]]:
    """Plans that one job can carry, all of one block; each by itself where they wait for something."""
    groups: dict[tuple[object, ...], list[_Plan]] = {}
    for plan in plans:
        block = watched.block(plan.element)
        groups.setdefault((plan.element if alone else block and block.first, *plan.common), []).append(plan)
    return groups.values()


def _queue(backend: Backend, submission: Submission, watched: SubmissionState, plans: Sequence[_Plan]) -> None:
    """Claim elements, and queue those that were to be had, in one job."""
    first = plans[0]
    group = attempts.new_group(first.element, first.attempt)
    claim = Continuation(
        group=group, options=first.options.to_json(), retries=first.retries, reason=first.reason, count=len(plans)
    )
    mine = attempts.claim(backend.store, watched.key, {(plan.element, plan.attempt): claim for plan in plans})
    if mine:
        _submit(backend, submission, watched, claim, mine)
    if len(mine) < len(plans):
        _pause(watched)


def _take_over(
    backend: Backend, submission: Submission, watched: SubmissionState, claimed: Mapping[str, Continuation]
) -> None:
    """Do what somebody claimed to do and has left undone; others may think of it at the same moment."""
    left = {group: claim for group, claim in claimed.items() if attempts.abandoned(watched, group)}
    if claimed:
        _pause(watched)
    if left:
        told = attempts.AttemptRecords(backend.store, watched.key, range(watched.elements))
        for group, claim in left.items():
            members = sorted(which for which, other in told.claims.items() if other.group == group)
            _log.warning("%s: whoever claimed %s for another attempt has left it; going on", watched.key, group)
            _submit(backend, submission, watched, claim, members, taken_over=True)


def _submit(
    backend: Backend,
    submission: Submission,
    watched: SubmissionState,
    claim: Continuation,
    claimed: Sequence[tuple[int, int]],
    *,
    taken_over: bool = False,
) -> None:
    """Queue a job for claimed elements. Where it is refused, or has no room, the claims are given back."""
    elements = sorted(element for element, _ in claimed)
    block = _block(backend, watched, elements, name=claim.group, attempts=claimed[0][1])
    options = Options.parse(claim.options)
    after = dependencies.of_calls(submission.dependencies, _calls(submission, elements[0], elements[-1]), backend.watch)
    record = attempts.record_path(backend.store, watched.key, claim.group)
    wanted = request(backend, submission, block, options, after)
    queue = backend.controller.submit_once if taken_over else backend.controller.submit_now
    queued = None
    try:
        queued = queue(record, watched.key, wanted, caretaker=caretaker(backend, submission)).blocks
    except SubmissionRefused:
        attempts.give_back(backend.store, watched.key, claim.group, claimed)
        raise
    if not queued:
        attempts.give_back(backend.store, watched.key, claim.group, claimed)
        _pause(watched)
    for element in elements if queued else ():
        watched.move(element, queued[0])


def _block(backend: Backend, watched: SubmissionState, elements: Sequence[int], *, name: str, attempts: int) -> Block:
    """The block that elements go on in: some array tasks of the one that they are in, or a plain job."""
    origin = backend.origin
    if len(elements) == 1 and not backend.has_arrays:
        return Block(first=elements[0], count=1, name=name, attempts=attempts, array=False, origin=origin)
    own = watched.block(elements[0])
    first = own.first if own else 0
    tasks = tuple(element - first for element in elements)
    return Block(first=first, count=len(tasks), tasks=tasks, name=name, attempts=attempts, origin=origin)


def _calls(submission: Submission, first: int, last: int) -> range:
    """The calls of elements from the first to the last."""
    return range(first * submission.chunk, min((last + 1) * submission.chunk, submission.count))


def _pause(watched: SubmissionState) -> None:
    watched.rests_until = time.monotonic() + _PAUSE
