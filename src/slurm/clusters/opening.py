"""Opening: find jobs, or the calls of a client of a pool, by their keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from slurm.errors import NoSuchJob, PoolError, TransportError
from slurm.jobs.find import find_job
from slurm.jobs.job import Job, JobArray
from slurm.places.place import place_for
from slurm.protocol import CLIENTS
from slurm.protocol.pools import pool_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.places.place import Place
    from slurm.submission.submission_state import SubmissionState

_OF_A_CLIENT = re.compile(
    rf"(?P<key>[^/]+/[^/]+/{CLIENTS}/\d+)(?:\[(?P<first>\d+)-(?P<last>\d+)\])?(?:\[(?P<index>\d+)\])?"
)


def find_job_or_call(place: Place, text: str, *, everywhere: bool = False) -> Job[Any] | JobArray[Any]:
    """Open jobs as `find_job` does. The text may also be the key of a client of a pool, for all of its calls.

    After such a key, [3] names call 3, [3-9] calls 3 to 9, such as those of a map, and [3-9][0] the first of these.
    """
    found = _OF_A_CLIENT.fullmatch(text)
    if found is None:
        return find_job(place, text, everywhere=everywhere)
    place = place.of(place.store.records(pool_key(found["key"]))) if everywhere else place
    state = _calls(place, found["key"])
    numbers = range(int(found["first"]), int(found["last"]) + 1) if found["first"] else range(state.count)
    index = int(found["index"]) if found["index"] else 0
    if numbers.stop > state.count or (found["index"] and index >= len(numbers)):
        raise NoSuchJob(f"{state.key} has {state.count} calls, so there is no {text}")
    return Job(place, state, numbers[index]) if found["index"] else JobArray(place, state, numbers)


def open_call(cluster: Mapping[str, Any], key: str, part: int | range) -> Job[Any] | JobArray[Any]:
    """Open calls of a pool in any process, as `slurm.open_job` opens jobs. Pickled jobs of pools name this function."""
    place = place_for(**cluster)
    state = _calls(place, key)
    return Job(place, state, part) if isinstance(part, int) else JobArray(place, state, part)


def _calls(place: Place, key: str) -> SubmissionState:
    """The calls of a client, as far as it has written them. Raises NoSuchJob, PoolError and TransportError."""
    try:
        from slurm.pools.pool_calls import PoolCalls  # noqa: PLC0415 - few keys are those of calls of a pool
    except ModuleNotFoundError:
        raise PoolError(f"{key} cannot be opened in a workflow: a node has no code for clients of pools") from None
    known = place.outcomes.own(key)
    if isinstance(known, PoolCalls):
        return known.state
    pool = place.registry.get(pool_key(key))
    calls = PoolCalls(place, key, pool)
    calls.state.opener = open_call
    try:
        calls.find()
    except FileNotFoundError:
        raise NoSuchJob(f"there is no {key} under {place.store.root}") from None
    except OSError as error:
        raise TransportError(f"the calls of {key} cannot be read: {error}") from error
    return calls.state
