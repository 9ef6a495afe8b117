"""Fencing: write outcomes for elements that have none, so that no process starts them or uses their results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.errors import ConnectionLost
from slurm.protocol import FAILED, OUTCOMES, PROCESS, outcome_name
from slurm.protocol.outcomes import Outcome
from slurm.protocol.states import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurm.storage.job_store import JobStore

_TRIES = 3
"""How often to write outcomes if the connection breaks. A file that exists already stays."""


def cancelled_outcome(reason: str | None = None, *, fence: str | None = None) -> Outcome:
    """Return the outcome of a cancelled element. `fence` is the word of the fence that cancelled it, if any."""
    state = JobState.CANCELLED.value
    return Outcome(status=FAILED, phase=PROCESS, exit_code=1, state=state, reason=reason, fence=fence)


def may_run_on(outcome: Outcome) -> bool:
    """Whether a client has ended the element only by writing its outcome, so that its process may still run."""
    by_hand = outcome.started is None and outcome.job_id is None
    return by_hand and JobState.of(outcome) is JobState.CANCELLED


def stay_ended(store: JobStore, key: str, elements: Iterable[int], outcome: Outcome) -> None:
    """Write an outcome for elements. Processes that start elements, or submit jobs for them, check for outcomes."""
    if ended := dict.fromkeys(map(outcome_name, elements), outcome.dumps()):
        store.commit(key, OUTCOMES, ended)


def fence_elements(store: JobStore, wanted: Mapping[str, set[int]], outcome: Outcome) -> Mapping[str, set[int]]:
    """Write an outcome with the word of a fence for elements without one; return those whose outcome has that word.

    If two fences run at the same time, each returns the elements that it has ended. Works for keys without a directory,
    too: a submission that uses such a key later starts nothing. Raises TransportError if outcomes cannot be written or
    read.
    """
    left: dict[str, set[int]] = {}
    for key, done in store.done(list(wanted)).items():
        if not isinstance(done, frozenset):
            raise done
        left[key] = wanted[key] - done
        _write(store, key, left[key], outcome)
    ended: dict[str, set[int]] = {key: set() for key in wanted}
    for key, (read, unreadable) in store.several_outcomes(left).items() if any(left.values()) else ():
        for error in unreadable.values():
            raise error
        ended[key] = {element for element, found in read.items() if found.fence == outcome.fence}
    return ended


def fence_waiting(store: JobStore, wanted: Mapping[str, Iterable[int]], outcome: Outcome) -> Mapping[str, set[int]]:
    """Write an outcome with the word of a fence for elements that were just seen to wait, by one command.

    Returns the elements that this outcome has ended, by key; the others have an outcome of their own.
    """
    names = {key: {outcome_name(element): element for element in some} for key, some in wanted.items()}
    written = store.commit_outcomes(names, outcome.dumps().decode())
    return {key: {some[name] for name in written[key]} for key, some in names.items()}


def _write(store: JobStore, key: str, elements: set[int], outcome: Outcome) -> None:
    """Write the outcome of elements; repeat if the connection breaks, because the callers read what was written."""
    for left in reversed(range(_TRIES)):
        try:
            return stay_ended(store, key, sorted(elements), outcome)
        except ConnectionLost:
            if not left:
                raise
    raise AssertionError
