"""Verdicts: the outcomes of calls that a pool's elements do not answer any more. They are not written to files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.protocol import FAILED, PROCESS, QUEUE
from slurm.protocol.outcomes import ErrorRecord, Outcome
from slurm.protocol.states import JobState
from slurm.submission.status import FinalStatus
from slurm.tracking import exceptions

if TYPE_CHECKING:
    from collections.abc import Collection

    from slurm.options.retry import Retry
    from slurm.places.place import Place
    from slurm.submission.submission_state import SubmissionState


class Verdicts:
    """Decides what the end of an element means for the calls that it had claimed, or that no element has claimed."""

    def __init__(self, place: Place, pool: SubmissionState) -> None:
        self._place, self._pool = place, pool
        self._known: dict[int, Outcome] = {}

    def of_element(self, element: int) -> Outcome:
        """The outcome of a call that an ended element had claimed. Asks the scheduler if a signal ended the element."""
        if element not in self._known:
            self._known[element] = self._of_element(element)
        return self._known[element]

    def pool_ended(self, elements: Collection[int], why: str = "") -> Outcome:
        """The outcome of a call that no element had claimed when the last element ended.

        `why` is the reason why no elements can be added to an elastic pool.
        """
        if why:
            return _ended(f"no element of its pool is left, and none can be added: {why}")
        outcome = self.of_element(max(elements))
        why = outcome.error.message if outcome.error else outcome.state or f"status {outcome.exit_code}"
        return _ended(f"no element of its pool is left; the last one ended: {why}")

    def allows(self, retry: Retry, outcome: Outcome, attempt: int) -> bool:
        """Whether another element repeats a call with this outcome that an ended element had claimed."""
        status = FinalStatus(JobState.parse(outcome.state) if outcome.state else JobState.FAILED, None)
        return retry.allows(exceptions.failures_of(outcome, status), attempt)

    def _of_element(self, element: int) -> Outcome:
        outcome = self._place.outcomes.outcomes(self._pool.key, [element], chunk=1).get(element)
        status = self._pool.final_status(element) if outcome is None else None
        if outcome is not None and exceptions.by_signal(outcome):
            status = self._place.tracker.explain(self._pool, element)
        if status is not None:
            report = status.report
            return Outcome(
                status=FAILED,
                phase=PROCESS,
                exit_code=outcome.exit_code if outcome else 1,
                state=status.state.value,
                reason=(report.reason or None) if report else None,
                host=(report.node or None) if report else None,
                job_id=self._pool.job_id(element),
            )
        if outcome is not None and (outcome.state or outcome.phase == PROCESS):
            return outcome
        return _ended(f"element {element} of its pool has ended: {_reason(outcome)}")


def _reason(outcome: Outcome | None) -> str:
    if outcome is None:
        return "it left no outcome"
    if outcome.error is not None:
        return f"{outcome.error.type}: {outcome.error.message}"
    return "it was idle, its time limit was near, or the pool was closed"


def cancelled() -> Outcome:
    """The outcome of a call that was cancelled before an element claimed it."""
    return Outcome(status=FAILED, phase=QUEUE, exit_code=1, state=JobState.CANCELLED.value)


def requeued() -> Outcome:
    """The outcome of a call that an element was making when the scheduler requeued the element."""
    error = ErrorRecord(type="WorkerDied", message="its element was requeued meanwhile", bases=("WorkerDied",))
    return Outcome(status=FAILED, phase=PROCESS, exit_code=1, error=error)


def _ended(message: str) -> Outcome:
    error = ErrorRecord(type="PoolEnded", message=message, bases=("PoolEnded",))
    return Outcome(status=FAILED, phase=QUEUE, exit_code=1, error=error)
