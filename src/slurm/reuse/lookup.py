"""Lookup: which calls were computed before, or are being computed, and by which submission."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import SchedulerError, TransportError
from slurm.protocol import FAILED, OUTCOMES, PROCESS, outcome_name
from slurm.protocol.outcomes import Outcome
from slurm.protocol.states import JobState
from slurm.storage.keys import submitted_at

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from slurm.places.place import Place
    from slurm.submission.submission_state import SubmissionState

_log = logging.getLogger(__name__)

_PAUSE = 0.2
_LONG_AGO = 3600.0
"""A submission of this age without a directory was cleaned away. If its client still lives, a call may run twice."""


class Known(NamedTuple):
    """A call of an earlier submission that has a result, or will have one."""

    state: SubmissionState
    call: int
    """Its index in the submission."""


def look_up(place: Place, task: str, digests: Sequence[bytes]) -> tuple[int, list[Known | None]]:
    """Find the last submission of each call; None if it is to be submitted. Returns the number of the next record, too.

    A call that has failed is to be submitted, and so is one whose submission was never queued, was lost, or no longer
    exists. `task` is any key of the task. Takes a listing, and one command each for new records of reuse, for the
    records of the submissions, and for outcomes. If calls have no outcome yet, it queries the scheduler.
    """
    records = place.reuse_records
    number = records.refresh(task)
    named = records.find(task, digests)
    wanted: dict[str, set[int]] = {}
    for found in named:
        if found:
            wanted.setdefault(found[0], set()).add(found[1])
    states = _existing(place, list(wanted))
    good = {key: _not_failed(place, state, wanted[key]) for key, state in states.items()}
    return number, [Known(states[at[0]], at[1]) if at and at[1] in good.get(at[0], ()) else None for at in named]


def _existing(place: Place, keys: Sequence[str]) -> dict[str, SubmissionState]:
    """The states of submissions by key. Waits for those that are being submitted, and fences those whose client died.

    A client that has written a record has a minute to submit, by this process's clock.
    """
    records, patience = place.reuse_records, place.timings.abandoned_claim
    found: dict[str, SubmissionState] = {}
    left = list(keys)
    while left:
        found |= {state.key: state for state in place.registry.get_several(left)}
        left = [key for key in left if not _is_answered(found.get(key))]
        late = [key for key in left if records.seconds_known(key) > patience or _age(key) > _LONG_AGO]
        for key in late:
            if key in found:  # its job may be queued, and its client may have died before it wrote the id
                place.recovery.complete([found[key]])
            if not _is_answered(found.get(key)):
                found.pop(key, None)
                if _age(key) <= _LONG_AGO:
                    _fence(place, key)
        left = [key for key in left if key not in late]
        if left:
            time.sleep(_PAUSE)
    return found


def _age(key: str) -> float:
    """How long ago a key was made, in seconds, by the clocks of its client and of this one; 0 for another form."""
    submitted = submitted_at(key)
    return 0.0 if submitted is None else time.time() - submitted


def _is_answered(state: SubmissionState | None) -> bool:
    """Whether the scheduler has accepted or refused a submission."""
    return state is not None and (state.submitted is not None or state.refused is not None)


def _fence(place: Place, key: str) -> None:
    """Write that the elements of a submission were cancelled, so that no process starts what it submits later."""
    entry = place.reuse_records.entry(key)
    if entry is not None:
        _log.warning("%s was never submitted, because its client ended: its calls are submitted anew", key)
        _end(place, key, range(entry.record.elements), "its client ended before it submitted it")


def _end(place: Place, key: str, elements: Iterable[int], reason: str) -> None:
    """Commit outcomes for elements without one. They hold a random word, so that they differ from other processes'."""
    words = f"{reason} (fence {os.urandom(8).hex()})"
    outcome = Outcome(status=FAILED, phase=PROCESS, exit_code=1, state=JobState.CANCELLED.value, reason=words)
    if files := dict.fromkeys(map(outcome_name, elements), outcome.dumps()):
        place.store.commit(key, OUTCOMES, files)


def _not_failed(place: Place, state: SubmissionState, indices: set[int]) -> set[int]:
    """Those calls of a submission that have a result, or run, or wait to run."""
    if state.refused is not None:
        return set()
    succeeded, without = _outcomes(place, state, indices)
    while without:
        alive = _alive(place, state, without)
        ended = set(filter(state.finished, without))
        if lost := {state.element(index) for index in ended if not state.has_outcome(index)}:
            _end(place, state.key, lost, "the scheduler has lost it")
        succeeded |= _outcomes(place, state, ended)[0]
        without -= ended
        if without <= alive:
            break
        time.sleep(_PAUSE)  # the outcomes of jobs that have just ended appear soon, or the tracker calls them lost
    return succeeded | without


def _outcomes(place: Place, state: SubmissionState, indices: set[int]) -> tuple[set[int], set[int]]:
    """The calls that have succeeded, and those without an outcome. A damaged outcome counts as a failure."""
    if state.summary is not None:
        return indices - set(state.summary.failed), set()
    read, unreadable = place.store.several_outcomes({state.key: {state.element(index) for index in indices}})[state.key]
    for error in unreadable.values():
        if isinstance(error, TransportError):
            raise error
    state.add_outcomes(read)
    good = {element: _succeeded(outcome) for element, outcome in read.items()}
    succeeded = {index for index in indices if index % state.chunk in good.get(state.element(index), ())}
    known = {*read, *unreadable}
    return succeeded, {index for index in indices if state.element(index) not in known}


def _succeeded(outcome: Outcome) -> Collection[int]:
    """The positions in their element of the calls that have succeeded."""
    if outcome.ends is None:
        return range(1) if outcome.succeeded else ()
    return set(range(len(outcome.ends))) - {failure.call for failure in outcome.failures}


def _alive(place: Place, state: SubmissionState, indices: set[int]) -> set[int]:
    """The calls that wait for room in the queue, or that the scheduler knows; all if it cannot answer."""
    try:
        place.tracker.check(state)
    except SchedulerError as error:
        _log.warning("%s may have ended: %s", state.key, error)
        return indices
    known = {index for index in indices if (report := state.report(index)) and not report.state.final}
    return known | {index for index in indices if state.block(state.element(index)) is None}
