"""Fence: end calls by their outcomes alone, so that no result is taken from them, whether or not they still run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError, ConnectionLost
from slurm.jobs.cancel import cancelled_outcome, stay_ended, with_children
from slurm.jobs.waiting import flat
from slurm.views.status import Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.jobs.job import Job
    from slurm.jobs.waiting import Jobs
    from slurm.places.place import Place
    from slurm.protocol.outcomes import Outcome
    from slurm.submission.submission_state import SubmissionState

_TRIES = 3
"""How often outcomes are written if the connection breaks meanwhile. A file that is there already stays."""


def fence(jobs: Jobs, reason: str) -> list[Job[Any]]:
    """End jobs so that no result is taken from them any more; returns those that this call has ended.

    Jobs that have ended before are not returned and stay as they are. The others end as cancelled, for this `reason`.
    They may still run: cancel them, too, to end that. An element that has not begun starts nothing, and one of several
    calls (`chunk_size`) ends after its current call; these calls end together. What workflows have submitted is fenced,
    too, also if they have ended. The scheduler is not asked.
    """
    if not isinstance(reason, str) or not reason:
        raise ConfigurationError(f"reason={reason!r}: expected a text that says why the jobs end")
    every = list(dict.fromkeys(flat(jobs)))
    outcome = cancelled_outcome(reason, fence=os.urandom(12).hex())
    parts: dict[tuple[Place, SubmissionState], set[int]] = {}
    for job in every:
        place, watched, _ = job.part
        parts.setdefault((place, watched), set()).add(job.index)
    ended: dict[tuple[Place, str], set[int]] = {}
    wanted = (Part(place, watched, sorted(indices)) for (place, watched), indices in parts.items())
    for place, watched, indices in with_children(wanted, outcome):
        elements = {watched.element(index) for index in indices}
        ended.setdefault((place, watched.key), set()).update(
            fence_elements(place, {watched.key: elements}, outcome)[watched.key]
        )
        place.tracker.list_outcomes([watched])
    found = ((job, *job.part[:2]) for job in every)
    return [job for job, place, watched in found if watched.element(job.index) in ended[place, watched.key]]


def fence_elements(place: Place, wanted: Mapping[str, set[int]], outcome: Outcome) -> Mapping[str, set[int]]:
    """Write an outcome with the word of a fence for elements without one; returns those whose outcome has that word.

    Of two fences at a time, each returns the elements that it has ended. Works for keys without a directory, too: then
    what is submitted under them later starts nothing. Raises TransportError if outcomes cannot be written or read.
    """
    left: dict[str, set[int]] = {}
    for key, done in place.store.done(list(wanted)).items():
        if not isinstance(done, frozenset):
            raise done
        left[key] = wanted[key] - done
        _write(place, key, left[key], outcome)
    ended: dict[str, set[int]] = {key: set() for key in wanted}
    for key, (read, unreadable) in place.store.several_outcomes(left).items() if any(left.values()) else ():
        for error in unreadable.values():
            raise error
        ended[key] = {element for element, found in read.items() if found.fence == outcome.fence}
    return ended


def _write(place: Place, key: str, elements: set[int], outcome: Outcome) -> None:
    """Write the outcome of elements, again if the connection broke: what was written is read afterwards."""
    for left in reversed(range(_TRIES)):
        try:
            return stay_ended(place, key, sorted(elements), outcome)
        except ConnectionLost:
            if not left:
                raise
    raise AssertionError
