"""Lookup: find the calls that were computed before, or are being computed, and their submissions."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import SchedulerError, SlurmError, TransportError
from slurm.storage.fencing import cancelled_outcome, stay_ended
from slurm.storage.keys import submitted_at

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from slurm.places.place import Place
    from slurm.protocol.outcomes import Outcome
    from slurm.storage.job_store import Outcomes
    from slurm.submission.submission_state import SubmissionState

_log = logging.getLogger(__name__)

_PAUSE = 0.2
_FEW = 1000
"""The most outcomes that are read together with the records of submissions. The records may show that more are not
needed.
"""
_LONG_AGO = 3600.0
"""Seconds after which a submission without a directory counts as removed. If its client is still alive, a call may run
twice.
"""


class Known(NamedTuple):
    """A call of an earlier submission that has a result, or will have one."""

    state: SubmissionState
    call: int
    """The index of the call in the submission."""


def look_up(place: Place, task: str, digests: Sequence[bytes]) -> tuple[int, list[Known | None]]:
    """Find the last submission of each call; None if the call must be submitted. Returns the number of the next record,
    too, as the first item.

    A call must be submitted if it failed, or if its submission was never queued, was lost, or no longer exists. `task`
    is any key of the task. Takes one command for new records of reuse, and one for records of submissions and outcomes,
    or two if these are many. If calls have no outcome yet, it queries the scheduler.
    """
    records = place.reuse_records
    number = records.refresh(task)
    named = records.find(task, digests)
    wanted: dict[str, set[int]] = {}
    for found in named:
        if found:
            wanted.setdefault(found[0], set()).add(found[1])
    states, early = _existing(place, wanted)
    good = _not_failed(place, states, wanted, early)
    return number, [Known(states[at[0]], at[1]) if at and at[1] in good.get(at[0], ()) else None for at in named]


def _existing(
    place: Place, wanted: Mapping[str, set[int]]
) -> tuple[Mapping[str, SubmissionState], Mapping[str, Outcomes]]:
    """Return the states of submissions by key, and the outcomes that were read together with their records.

    Waits for submissions that are being submitted, and fences submissions whose client died. A client that has written
    a record has a minute to submit, by the clock of this process.
    """
    records, patience = place.reuse_records, place.timings.abandoned_claim
    elements = {key: _elements(place, key, calls) for key, calls in wanted.items()}
    few = sum(map(len, elements.values())) <= _FEW
    read, early = place.store.records_and_outcomes(elements if few else dict.fromkeys(wanted, ()))
    found = {key: place.registry.add(*each) for key, each in read.items() if not isinstance(each, SlurmError)}
    left = list(wanted)
    while left:
        left = [key for key in left if not _is_answered(found.get(key))]
        late = [key for key in left if records.seconds_known(key) > patience or _age(key) > _LONG_AGO]
        for key in late:
            if key in found:  # the job may be queued, although the client died before it wrote the id
                place.recovery.complete([found[key]])
            if not _is_answered(found.get(key)):
                found.pop(key, None)
                if _age(key) <= _LONG_AGO:
                    _fence(place, key)
        left = [key for key in left if key not in late]
        if left:
            time.sleep(_PAUSE)
            found |= {state.key: state for state in place.registry.get_several(left)}
    return found, early


def _elements(place: Place, key: str, calls: Iterable[int]) -> set[int]:
    """Return the elements that may make `calls`: the record of a submission does not give the calls of each element."""
    entry = place.reuse_records.entry(key)
    elements = entry.record.elements if entry else 0
    if not entry or not 0 < elements <= len(entry.digests):
        return set()
    least = -(-len(entry.digests) // elements)
    most = (len(entry.digests) - 1) // (elements - 1) if elements > 1 else least
    return {element for call in calls for element in range(call // most, min(call // least + 1, elements))}


def _age(key: str) -> float:
    """Return the age of a key in seconds, by the clocks of its client and this process; 0 for a key of another form."""
    submitted = submitted_at(key)
    return 0.0 if submitted is None else time.time() - submitted


def _is_answered(state: SubmissionState | None) -> bool:
    """Whether the scheduler has accepted or refused a submission."""
    return state is not None and (state.submitted is not None or state.refused is not None)


def _fence(place: Place, key: str) -> None:
    """Record that the elements of a submission are cancelled, so that they run nothing if they are submitted later."""
    entry = place.reuse_records.entry(key)
    if entry is not None:
        _log.warning("%s was never submitted, because its client ended: its calls are submitted anew", key)
        _end(place, key, range(entry.record.elements), "its client ended before it submitted it")


def _end(place: Place, key: str, elements: Iterable[int], reason: str) -> None:
    """Write outcomes for elements without one. A random word makes them differ from the outcomes of other processes."""
    stay_ended(place.store, key, elements, cancelled_outcome(reason, fence=os.urandom(12).hex()))


def _not_failed(
    place: Place, states: Mapping[str, SubmissionState], wanted: Mapping[str, set[int]], early: Mapping[str, Outcomes]
) -> Mapping[str, set[int]]:
    """Return the calls that have a result, or run, or wait to run. `early` are outcomes that were read already."""
    accepted = {key: wanted[key] for key, state in states.items() if state.refused is None}
    good, left = _outcomes(place, states, accepted, early)
    while left:
        alive = _alive(place, states, left)
        ended = {key: set(filter(states[key].finished, calls)) for key, calls in left.items()}
        for key, calls in ended.items():
            state = states[key]
            if lost := {state.element(index) for index in calls if not state.has_outcome(index)}:
                _end(place, key, lost, "the scheduler has lost it")
        for key, calls in _outcomes(place, states, ended, {})[0].items():
            good[key] |= calls
        left = {key: rest for key, calls in left.items() if (rest := calls - ended[key])}
        if all(calls <= alive[key] for key, calls in left.items()):
            break
        time.sleep(_PAUSE)  # outcomes of jobs that have just ended appear soon, or the tracker reports the jobs as lost
    for key, calls in left.items():
        good[key] |= calls
    return good


def _outcomes(
    place: Place, states: Mapping[str, SubmissionState], wanted: Mapping[str, set[int]], early: Mapping[str, Outcomes]
) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Return the calls that have succeeded, and the calls without an outcome, by submission.

    Reads all outcomes together that are not in `early`. A damaged outcome counts as a failure.
    """
    found: dict[str, set[int]] = {}
    without: dict[str, set[int]] = {}
    elements: dict[str, set[int]] = {}
    for key, calls in wanted.items():
        state = states[key]
        if state.summary is not None:
            found[key] = calls - set(state.summary.failed)
        else:
            before = early[key].read if key in early else {}
            elements[key] = {state.element(index) for index in calls} - before.keys()
    late = place.store.several_outcomes(elements) if any(elements.values()) else {}
    for key in elements:
        read, unreadable = late.get(key, ({}, {}))
        read = {**(early[key].read if key in early else {}), **read}
        for error in unreadable.values():
            if isinstance(error, TransportError):
                raise error
        state, calls = states[key], wanted[key]
        state.add_outcomes(read)
        good = {element: _succeeded(outcome) for element, outcome in read.items()}
        found[key] = {index for index in calls if index % state.chunk in good.get(state.element(index), ())}
        known = {*read, *unreadable}
        if rest := {index for index in calls if state.element(index) not in known}:
            without[key] = rest
    return found, without


def _succeeded(outcome: Outcome) -> Collection[int]:
    """Return the positions of the succeeded calls in their element, from 0."""
    if outcome.ends is None:
        return range(1) if outcome.succeeded else ()
    return set(range(len(outcome.ends))) - {failure.call for failure in outcome.failures}


def _alive(
    place: Place, states: Mapping[str, SubmissionState], wanted: Mapping[str, set[int]]
) -> Mapping[str, set[int]]:
    """Return the calls that wait for room in the queue, or that the scheduler knows; all if it does not answer."""
    try:
        place.tracker.check([states[key] for key in wanted])
    except SchedulerError as error:
        _log.warning("%s may have ended: %s", ", ".join(wanted), error)
        return wanted
    found = {}
    for key, calls in wanted.items():
        state = states[key]
        known = {index for index in calls if (report := state.report(index)) and not report.state.final}
        found[key] = known | {index for index in calls if state.block(state.element(index)) is None}
    return found
