"""Fence: end calls only by writing their outcomes, so that their results are not used even if they still run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError
from slurm.jobs.cancel import with_children
from slurm.jobs.waiting import flat
from slurm.storage.fencing import cancelled_outcome, fence_elements
from slurm.views.status import Part

if TYPE_CHECKING:
    from slurm.jobs.job import Job
    from slurm.jobs.waiting import Jobs
    from slurm.places.place import Place
    from slurm.submission.submission_state import SubmissionState


def fence(jobs: Jobs, reason: str) -> list[Job[Any]]:
    """End jobs so that their results are not used any more. Returns the jobs that this call has ended.

    Jobs that have ended before are not returned and stay as they are. The other jobs end as cancelled, for this
    `reason`. They may still run: to stop them, cancel them, too. An element that has not begun starts nothing. An
    element of several calls (`chunk_size`) ends after its current call, and all its calls end together. Jobs that
    workflows have submitted are fenced, too, even if the workflows have ended. The scheduler is not queried.
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
            fence_elements(place.store, {watched.key: elements}, outcome)[watched.key]
        )
        place.tracker.list_outcomes([watched])
    found = ((job, *job.part[:2]) for job in every)
    return [job for job, place, watched in found if watched.element(job.index) in ended[place, watched.key]]
