"""Latest: follow calls to the submissions that have retried them."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from slurm.jobs.job import Job
from slurm.jobs.pieces import Call, JoinedArray, joined
from slurm.protocol.ranges import within

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    from slurm.jobs.job import JobArray
    from slurm.views.status import Part

    R = TypeVar("R")


def latest_job(job: Job[R]) -> Job[R]:
    """Return the last retry of a job, or the job itself."""
    (call,) = _latest_calls([job.part], [job.part])
    return Job(job.part.place, call.state, call.at)


def latest_array(array: JobArray[R]) -> JobArray[R]:
    """Return the last retry of each job of an array, in order, as one array."""
    if not len(array):
        return array
    own = array.own_parts if isinstance(array, JoinedArray) else array.parts
    return JoinedArray(array.parts[0].place, joined(_latest_calls(array.parts, own)))


def _latest_calls(parts: Sequence[Part], own: Sequence[Part]) -> list[Call]:
    """Return the last retry of each call, or the call itself, in order. `own` are the parts that the map submitted.

    Reads the records of all submissions of the task: two commands. A retry that was refused does not count.
    """
    place = parts[0].place
    task = parts[0].state.key.partition("/")[0]
    records = [records for records in place.store.several_records(place.store.keys(task)) if place.has(records)]
    next_of: dict[tuple[str, int], tuple[str, int]] = {}
    for submission in sorted((each.submission for each in records if not each.refused), key=attrgetter("created")):
        if submission.retried is not None:
            for number, index in enumerate(within(submission.retried.calls)):
                next_of[submission.retried.key, index] = submission.key, number
    calls = [(part.state.key, index) for part in parts for index in part.indices]
    mine = {(part.state.key, index) for part in own for index in part.indices}
    found = [_end(next_of, call) for call in calls]
    states = {state.key: state for state in place.registry.get_several(list({key for key, _ in found}))}
    return [Call(states[key], at, own=call in mine) for call, (key, at) in zip(calls, found, strict=True)]


def _end(next_of: dict[tuple[str, int], tuple[str, int]], call: tuple[str, int]) -> tuple[str, int]:
    """Follow a call to its last retry. Each retry is younger than the call that it retries, so the loop ends."""
    while call in next_of:
        call = next_of[call]
    return call
