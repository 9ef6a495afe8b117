"""Resubmission: decide whether a failed or stopped element runs again, and submit the job that runs it.

Several processes may try: the element's own script, the client, a retry job, or a client that returns later. Claims
(`attempts/<e>.<n>.next.json`, made with link(2)) make sure that only one process submits the job.
"""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import SubmissionRefused
from slurm.options import Options, retry
from slurm.protocol import PROCESS, RESOLVE, STOPPED, Block
from slurm.protocol.states import JobState
from slurm.submission import dependencies, external_jobs
from slurm.tracking import attempts, exceptions
from slurm.tracking.attempts import Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence

    from slurm.protocol import Submission
    from slurm.protocol.outcomes import Outcome
    from slurm.submission.requests import Requests
    from slurm.submission.status import FinalStatus
    from slurm.submission.submission_state import SubmissionState
    from slurm.submission.timings import Timings

_log = logging.getLogger(__name__)

_GOES_ON = "what it waits for goes on"
"""The reason for another attempt of an element that has not begun: one of its upstreams has another attempt."""


class _Case(NamedTuple):
    """An element without an outcome whose last attempt has ended, and what is known about it."""

    element: int
    attempt: int
    outcome: Outcome | None
    status: FinalStatus
    options: Options
    retries: int
    last: bool
    """Whether it must not run again: an earlier claim is damaged, so the number of attempts is unknown."""

    @property
    def waited(self) -> bool:
        """Whether it never ran because a job that it waited for failed."""
        report, outcome = self.status.report, self.outcome
        return bool(report and report.dependency_failed) or (outcome is not None and outcome.phase == RESOLVE)

    def next(self) -> _Plan | None:
        """The next attempt; None if there is none."""
        outcome, status = self.outcome, self.status
        if status.state is JobState.CANCELLED or self.last:
            return None
        if outcome is not None and outcome.phase == STOPPED:
            return self.plan("checkpoint") if retry.may_restart(self.options.get, self.attempt) else None
        policy = retry.of_options(self.options.get)
        if policy is None:
            return None
        failure = exceptions.failures_of(outcome, status)
        node = (outcome.host if outcome else None) or (status.report.node if status.report else None)
        changes = policy.next_options(self.options.get, failure, tried=self.retries, node=node)
        if changes is None:
            return None
        plan = self.plan(", ".join(sorted(failure & policy.failures)))
        return plan._replace(options=self.options.merged(Options(changes, {})), retries=self.retries + 1)

    def plan(self, reason: str) -> _Plan:
        """The next attempt with the same options."""
        return _Plan(self.element, self.attempt, self.options, self.retries, reason)

    def final_outcome(self) -> Outcome | None:
        """The attempt's outcome, as the element's outcome; with the scheduler's state if the scheduler ended it."""
        outcome, status = self.outcome, self.status
        if outcome is None:
            return None
        if outcome.phase == STOPPED:
            stopped = outcome.replace(phase=PROCESS, state=JobState.TIMEOUT.value, reason="stopped once too often")
            return None if status.state is JobState.CANCELLED else stopped
        if exceptions.by_signal(outcome) and status.state not in (JobState.FAILED, JobState.LOST):
            return outcome.replace(state=status.state.value, reason=status.report.reason if status.report else None)
        return outcome


class _Plan(NamedTuple):
    """The next attempt of an element: its options, the number of retries including this one, and the reason."""

    element: int
    attempt: int
    options: Options
    retries: int
    reason: str

    @property
    def common(self) -> tuple[object, ...]:
        """Elements with the same value can run in one job."""
        return self.attempt, self.retries, self.reason, json.dumps(self.options.to_json(), sort_keys=True)


class Resubmitter:
    """Submits the next attempts of elements. `check` is a function that checks an upstream submission now."""

    def __init__(
        self,
        requests: Requests,
        *,
        check: Callable[[SubmissionState], None],
        timings: Timings,
        refusals_are_final: bool,
    ) -> None:
        self._requests, self._store, self._queue = requests, requests.store, requests.queue
        self._upstream = requests.registry.upstream
        self._check, self._timings, self._refusals_are_final = check, timings, refusals_are_final

    def resubmit(
        self, watched: SubmissionState, statuses: Mapping[int, FinalStatus], waiting: Container[int]
    ) -> Mapping[int, Outcome | None]:
        """Submit next attempts, in one job for all with the same options. Returns final outcomes of other elements.

        Elements that are `waiting` for an outcome are left alone unless their attempt left a record. Elements that
        another process resubmits are not returned until it has succeeded or failed. Raises SubmissionRefused if the
        refusal is not final.
        """
        if watched.resubmission_paused:
            return {}
        submission = self._store.records(watched.key).submission
        records = attempts.AttemptRecords(self._store, watched.key, statuses)
        before = {element: watched.block(element) for element in statuses}
        records.move(watched)
        cases, claimed = [], {}
        for element, status in statuses.items():
            attempt = records.attempt(element, watched)
            claim, last = records.claims.get((element, attempt)), records.last_claims.get(element)
            if watched.block(element) != before[element]:
                continue
            if claim is not None:
                claimed[claim.group] = claim
                continue
            outcome = records.outcomes.get((element, attempt))
            if damage := records.damaged.get((element, attempt)):
                if not self._abandoned(watched, f"{element}.{attempt}"):  # its job may be known soon
                    self._pause(watched)
                    continue
                outcome = outcome or attempts.unreadable(damage)
            if outcome is not None or element not in waiting:
                options = Options.parse(last.options if last else submission.options)
                retries, is_last = last.retries if last else 0, any(e == element for e, _ in records.damaged)
                cases.append(_Case(element, attempt, outcome, status, options, retries, is_last))
        self._take_over(submission, watched, claimed)
        return self._decide(submission, watched, cases)

    def _decide(
        self, submission: Submission, watched: SubmissionState, cases: Sequence[_Case]
    ) -> Mapping[int, Outcome | None]:
        """Submit next attempts; return the elements without one, with their final outcomes."""
        waited = [case.element for case in cases if case.waited]
        again, unsure = self._upstreams_run_again(submission, watched, waited) if waited else ((), ())
        plans, ended = [], {}
        for case in cases:
            if case.element in unsure:
                self._pause(watched)
                continue
            plan = None if case.waited else case.next()
            if case.waited and case.element in again:
                plan = case.plan(_GOES_ON)
            if plan is None:
                ended[case.element] = case.final_outcome()
            else:
                plans.append(plan)
        outcomes = {case.element: case.final_outcome for case in cases}
        for group in _grouped(plans, watched, alone=bool(submission.dependencies) or not self._queue.has_arrays):
            try:
                self._claim(submission, watched, group)
            except SubmissionRefused as error:
                if not self._refusals_are_final:
                    raise
                _log.warning("jobs of %s cannot be resubmitted: %s", watched.key, error)
                ended |= {plan.element: outcomes[plan.element]() for plan in group}
        return ended

    def _upstreams_run_again(
        self, submission: Submission, watched: SubmissionState, elements: Collection[int]
    ) -> tuple[Collection[int], Collection[int]]:
        """Of elements whose upstream failed: those whose upstream runs again, and those for which this is unknown.

        An upstream runs again if it has another attempt, or if another attempt has already succeeded.
        """
        upstreams = {edge.key: self._upstream(watched, edge.key) for edge in submission.dependencies}
        for upstream in upstreams.values():
            if upstream.unfinished:
                self._check(upstream)
        failed = dependencies.failed_upstreams(
            self._store, watched.key, elements, unless=lambda key, index: not upstreams[key].finished(index)
        )
        again = {element for element in elements if element not in failed}
        outside = external_jobs.later_dependencies(self._queue, submission, begun=not again)
        if outside and outside[1]:
            return (), ()
        unsure = {
            element
            for element in again
            for edge in submission.dependencies
            if (upstream := upstreams[edge.key]).missing
            & dependencies.elements(edge, _calls(submission, element, element), upstream)
        }
        return again - unsure, unsure

    def _claim(self, submission: Submission, watched: SubmissionState, plans: Sequence[_Plan]) -> None:
        """Claim elements, and submit those that no other process has claimed, in one job."""
        first = plans[0]
        group = attempts.new_group(first.element, first.attempt)
        claim = Claim(
            group=group, options=first.options.to_json(), retries=first.retries, reason=first.reason, count=len(plans)
        )
        mine = attempts.write_claims(self._store, watched.key, {(plan.element, plan.attempt): claim for plan in plans})
        if mine:
            self._submit(submission, watched, claim, mine)
        if len(mine) < len(plans):
            self._pause(watched)

    def _take_over(self, submission: Submission, watched: SubmissionState, claimed: Mapping[str, Claim]) -> None:
        """Submit the jobs of abandoned claims. Another process may do so at the same moment."""
        abandoned = {group: claim for group, claim in claimed.items() if self._abandoned(watched, group)}
        if claimed:
            self._pause(watched)
        if abandoned:
            records = attempts.AttemptRecords(self._store, watched.key, range(watched.elements))
            for group, claim in abandoned.items():
                members = sorted(which for which, other in records.claims.items() if other.group == group)
                _log.warning("%s: the process that claimed attempt %s is gone; submitting it", watched.key, group)
                self._submit(submission, watched, claim, members, taken_over=True)

    def _submit(
        self,
        submission: Submission,
        watched: SubmissionState,
        claim: Claim,
        claimed: Sequence[tuple[int, int]],
        *,
        taken_over: bool = False,
    ) -> None:
        """Submit a job for claimed elements. If it is refused, or the queue is full, withdraw the claims."""
        requests, client, options = self._requests, self._queue.client, Options.parse(claim.options)
        elements = sorted(element for element, _ in claimed)
        block = self._block(watched, elements, name=claim.group, attempts=claimed[0][1])
        calls, known = _calls(submission, elements[0], elements[-1]), partial(self._upstream, watched)
        after = dependencies.of_calls(submission.dependencies, calls, known)
        outside = external_jobs.later_dependencies(self._queue, submission, begun=claim.reason != _GOES_ON)
        after += outside[0] if outside else ()
        queued = attempts.submit_claimed(
            self._store,
            watched.key,
            claim.group,
            claimed,
            submit=client.submit_once if taken_over else client.submit_now,
            request=requests.block(submission, block, options, after),
            retry_job=requests.retry_job(submission, options),
        )
        if not queued:
            self._pause(watched)
        for element in elements if queued else ():
            watched.move(element, queued[0])

    def _block(self, watched: SubmissionState, elements: Sequence[int], *, name: str, attempts: int) -> Block:
        """The block of the next attempt: some array tasks of the block that the elements are in, or a single job."""
        origin = self._queue.origin
        if len(elements) == 1 and not self._queue.has_arrays:
            return Block(first=elements[0], count=1, name=name, attempts=attempts, array=False, origin=origin)
        own = watched.block(elements[0])
        first = own.first if own else 0
        tasks = tuple(element - first for element in elements)
        return Block(first=first, count=len(tasks), tasks=tasks, name=name, attempts=attempts, origin=origin)

    def _abandoned(self, watched: SubmissionState, group: str) -> bool:
        """Whether this process has seen a claim without a job for so long that the claim counts as abandoned."""
        return watched.seconds_claimed(group) > self._timings.abandoned_claim

    def _pause(self, watched: SubmissionState) -> None:
        watched.pause_resubmission(self._timings.resubmit_pause)


def _grouped(plans: Iterable[_Plan], watched: SubmissionState, *, alone: bool) -> Iterable[Sequence[_Plan]]:
    """Group plans of the same block, which can run in one job. If `alone`, each has its own job, because it waits."""
    groups: dict[tuple[object, ...], list[_Plan]] = {}
    for plan in plans:
        block = watched.block(plan.element)
        groups.setdefault((plan.element if alone else block and block.first, *plan.common), []).append(plan)
    return groups.values()


def _calls(submission: Submission, first: int, last: int) -> range:
    """The calls of elements from the first to the last."""
    return range(first * submission.chunk, min((last + 1) * submission.chunk, submission.count))
