"""Continuation: an element that failed or stopped goes on in another job, under the same key.

Whoever sees first that it should does it: the element's own script, the client, a caretaker job, or a client that comes
back later. `attempts/` tells them apart: an attempt's own word, then one claim, then the new job's id.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from slurm import dependencies, retry, verdict
from slurm.errors import SubmissionRefused
from slurm.options import Options
from slurm.protocol import (
    ATTEMPTS,
    PROCESS,
    RESOLVE,
    STOPPED,
    Block,
    Continuation,
    Outcome,
    Submitted,
    attempt_name,
    blocks_name,
    continuation_name,
)
from slurm.states import JobState

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from slurm.backend import Backend
    from slurm.protocol import Submission
    from slurm.watched import Ending, Watched

_log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<element>\d+)\.(?P<attempt>\d+)\.(?P<what>json|begun|next\.json|blocks\.json)")
_ABANDONED = 60.0
"""Seconds after which a claim without a job is somebody's who died."""
MAX_RESTARTS = 100
"""How many attempts follow one that stopped at a checkpoint, where `max_restarts` says nothing."""


class _Plan(NamedTuple):
    """An attempt to come: all of its options, which retry it is, and why."""

    element: int
    attempt: int
    options: Options
    retries: int
    reason: str
    group: str = ""
    """The name of the job, where somebody claimed the element for one and left it at that."""


def go_on(
    backend: Backend, watched: Watched, endings: Mapping[int, Ending], waiting: Container[int]
) -> Mapping[int, Outcome | None]:
    """Have elements go on that may, in a job for all that ask for the same; the others, with their own last word.

    Nothing is done yet about those of the `waiting` that have left no word of their own. Those that somebody else sees
    to are not told of either, until that one has or has failed to.
    """
    told = _Told.read(backend, watched, endings)
    submission = backend.store.records(watched.key).submission
    ended: dict[int, Outcome | None] = {}
    plans: list[_Plan] = []
    for element, ending in endings.items():
        if told.moved(element, watched):
            continue
        attempt = told.attempt(element, watched)
        claim = told.claims.get((element, attempt))
        if claim is not None:
            if abandoned(watched, element):
                options = Options.parse(claim.options)
                plans.append(_Plan(element, attempt, options, claim.retries, claim.reason, claim.group))
            continue
        outcome = told.outcomes.get((element, attempt))
        if outcome is None and element in waiting:
            continue
        plan = _plan(backend, submission, watched, told, element, attempt, outcome, ending)
        if plan is None:
            ended[element] = _named(outcome, ending)
        else:
            plans.append(plan)
    for group in _grouped(plans, submission):
        try:
            _queue(backend, submission, watched, group)
        except SubmissionRefused as error:
            _log.warning("jobs of %s can't go on: %s", watched.key, error)
            if backend.has_last_word:
                keys = [(plan.element, plan.attempt) for plan in group]
                ended |= {element: _named(told.outcomes.get((element, n)), endings[element]) for element, n in keys}
    return ended


def _plan(  # noqa: PLR0917 - all that is known of one element
    backend: Backend,
    submission: Submission,
    watched: Watched,
    told: _Told,
    element: int,
    attempt: int,
    outcome: Outcome | None,
    ending: Ending,
) -> _Plan | None:
    """What comes after an attempt; None if nothing does."""
    before = told.last_claim(element)
    options = Options.parse(before.options if before else submission.options)
    retries = before.retries if before else 0
    waited = ending.report is not None and ending.report.reason in verdict.UNSATISFIED
    if waited or (outcome is not None and outcome.phase == RESOLVE):
        if _upstreams_go_on(backend, submission, watched, element):
            return _Plan(element, attempt, options, retries, "what it waits for goes on")
        return None
    if ending.state is JobState.CANCELLED:
        return None
    if outcome is not None and outcome.phase == STOPPED:
        again = may_restart(options, attempt)
        return _Plan(element, attempt, options, retries, "checkpoint") if again else None
    policy = retry.of_options(options)
    failure = verdict.names(outcome, ending)
    node = (outcome.host if outcome else None) or (ending.report.node if ending.report else None)
    changes = policy.next_options(options, failure, tried=retries, node=node) if policy else None
    if policy is None or changes is None:
        return None
    return _Plan(element, attempt, options.merged(changes), retries + 1, ", ".join(sorted(failure & policy.failures)))


def may_restart(options: Options, attempt: int) -> bool:
    """Whether an attempt that stopped at a checkpoint is followed by another."""
    return attempt <= int(options.get("max_restarts") or MAX_RESTARTS)


def _named(outcome: Outcome | None, ending: Ending) -> Outcome | None:
    """An attempt's own word as the element's last; with the scheduler's where that ended it."""
    if outcome is None:
        return None
    if outcome.phase == STOPPED:
        stopped = outcome.replace(phase=PROCESS, state=JobState.TIMEOUT.value, reason="stopped once too often")
        return None if ending.state is JobState.CANCELLED else stopped
    if verdict.by_signal(outcome) and ending.state not in (JobState.FAILED, JobState.LOST):
        return outcome.replace(state=ending.state.value, reason=ending.report.reason if ending.report else None)
    return outcome


def _upstreams_go_on(backend: Backend, submission: Submission, watched: Watched, element: int) -> bool:
    """Whether what an element waited for, and which has failed, has another attempt, or had one that succeeded."""
    for edge in submission.dependencies:
        upstream = backend.watch(edge.key)
        if upstream.continues:
            backend.tracker.settle(upstream)
    backend.tracker.look([backend.watch(edge.key) for edge in submission.dependencies])
    return not dependencies.failed_upstreams(backend.store, watched.key, [element], unless=_goes_on(backend))


def _goes_on(backend: Backend) -> dependencies.GoesOn:
    def goes_on(key: str, index: int) -> bool:
        watched = backend.watch(key)
        return not watched.finished(index)

    return goes_on


def _grouped(plans: Iterable[_Plan], submission: Submission) -> Iterable[Sequence[_Plan]]:
    """Plans that one job can carry; what waits for something has a job of its own."""
    groups: dict[tuple[object, ...], list[_Plan]] = {}
    for plan in plans:
        alone = plan.element if submission.dependencies else -1
        same = (
            alone,
            plan.attempt,
            plan.retries,
            plan.reason,
            plan.group,
            json.dumps(plan.options.to_json(), sort_keys=True),
        )
        groups.setdefault(same, []).append(plan)
    return groups.values()


def _queue(backend: Backend, submission: Submission, watched: Watched, group: Sequence[_Plan]) -> None:
    """Claim elements, and queue those that were to be had, in one job for each block that they come from."""
    by_block: dict[int, list[_Plan]] = {}
    for plan in group:
        block = watched.block(plan.element)
        by_block.setdefault(block.first if block else 0, []).append(plan)
    for first, plans in by_block.items():
        left_behind = plans[0].group
        name = left_behind or f"{plans[0].element}.{plans[0].attempt}"
        mine = plans if left_behind else _claimed(backend, watched, plans, name)
        if not mine:
            continue
        block = Block(
            first=first,
            count=len(mine),
            tasks=tuple(sorted(plan.element - first for plan in mine)),
            name=name,
            attempts=mine[0].attempt,
        )
        record = f"{backend.store.directory(watched.key)}/{ATTEMPTS}/{blocks_name(name)}"
        queued = backend.controller.adopt(record, watched.key, [block]) if left_behind else None
        queued = queued or _queued(backend, submission, block, mine, record)
        for element in block.elements:
            watched.move(element, queued.blocks[0])


def _claimed(backend: Backend, watched: Watched, plans: Sequence[_Plan], name: str) -> Sequence[_Plan]:
    """The plans whose claim is this process's: of all that try, one is first."""
    files = {
        continuation_name(plan.element, plan.attempt): Continuation(
            group=name, options=plan.options.to_json(), retries=plan.retries, reason=plan.reason
        ).dumps()
        for plan in plans
    }
    won = backend.store.commit(watched.key, ATTEMPTS, files)
    return [plan for plan in plans if continuation_name(plan.element, plan.attempt) in won]


def _queued(backend: Backend, submission: Submission, block: Block, plans: Sequence[_Plan], record: str) -> Submitted:
    """Queue a job for claimed elements. Where it is refused, the claims are given back."""
    from slurm.submission import caretaker, request  # noqa: PLC0415 - it submits, so it stands above this module

    calls = range(block.elements[0] * submission.chunk, (block.elements[-1] + 1) * submission.chunk)
    after = dependencies.of_calls(submission.dependencies, calls, backend.watch)
    wanted = request(backend, submission, block, plans[0].options, after)
    try:
        return backend.controller.submit(record, submission.key, [wanted], caretaker=caretaker(backend, submission))
    except SubmissionRefused:
        names = [continuation_name(plan.element, plan.attempt) for plan in plans]
        backend.store.withdraw(submission.key, ATTEMPTS, names)
        raise


def abandoned(watched: Watched, element: int) -> bool:
    """Whether a claim on an element has been without a job for long, as this process has seen it."""
    since = watched.claimed_since.setdefault(element, time.monotonic())
    return time.monotonic() - since > _ABANDONED


class _Told:
    """What `attempts/` tells of elements."""

    def __init__(self, names: Iterable[str]) -> None:
        self.files: dict[str, dict[int, set[int]]] = {}
        for name in names:
            found = _NAME.fullmatch(name)
            if found:
                attempts = self.files.setdefault(found["what"], {}).setdefault(int(found["element"]), set())
                attempts.add(int(found["attempt"]))
        self.outcomes: dict[tuple[int, int], Outcome] = {}
        self.claims: dict[tuple[int, int], Continuation] = {}
        self.blocks: list[Block] = []

    @classmethod
    def read(cls, backend: Backend, watched: Watched, elements: Iterable[int]) -> _Told:
        """All blocks, and of these elements the last word and the last claim."""
        told = cls(backend.store.attempts(watched.key))
        groups = [blocks_name(f"{e}.{n}") for e, some in told.files.get("blocks.json", {}).items() for n in some]
        words, claims = {}, {}
        for element in elements:
            for n in told.files.get("json", {}).get(element, ()):
                words[attempt_name(element, n)] = (element, n)
            for n in told.files.get("next.json", {}).get(element, ()):
                claims[continuation_name(element, n)] = (element, n)
        data = backend.store.told(watched.key, [*groups, *words, *claims])
        told.blocks = [block for g in groups if g in data for block in Submitted.loads(data[g], where=g).blocks]
        told.outcomes = {words[name]: Outcome.loads(data[name], where=name) for name in words if name in data}
        told.claims = {claims[name]: Continuation.loads(data[name], where=name) for name in claims if name in data}
        return told

    def moved(self, element: int, watched: Watched) -> bool:
        """Whether an element is in another job than was known; that is known from here on."""
        mine = [block for block in self.blocks if element in block.elements]
        last = max(mine, key=lambda block: block.attempts, default=None)
        here = watched.block(element)
        if last is None or (here is not None and here.attempts >= last.attempts):
            return False
        watched.move(element, last)
        return True

    def attempt(self, element: int, watched: Watched) -> int:
        """The number of an element's last attempt, as far as anything tells."""
        block = watched.block(element)
        seen = (self.files.get(what, {}).get(element, set()) for what in ("json", "begun"))
        return max([1 + (block.attempts if block else 0), *set().union(*seen)])

    def last_claim(self, element: int) -> Continuation | None:
        """What was decided after the attempt before."""
        mine = [(attempt, claim) for (of, attempt), claim in self.claims.items() if of == element]
        return max(mine, key=lambda pair: pair[0])[1] if mine else None
