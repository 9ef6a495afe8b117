"""Moving: take points back from a source, so that another source can compute them and no point is started twice."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import SchedulerError, SlurmError
from slurm.jobs.cancel import cancel
from slurm.protocol.states import JobState
from slurm.schedulers.base import Target
from slurm.schedulers.job_control import CannotHold
from slurm.storage.fencing import cancelled_outcome, fence_elements, fence_waiting
from slurm.sweeps.looking import poller
from slurm.sweeps.snapshot import State
from slurm.views.status import Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.places.place import Place
    from slurm.protocol.outcomes import Outcome
    from slurm.schedulers.job_control import Answers
    from slurm.submission.submission_state import SubmissionState
    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.records import Shard
    from slurm.sweeps.snapshot import Point, Snapshot, SnapshotReader
    from slurm.sweeps.sources import Places

_log = logging.getLogger(__name__)

_LONGEST_END = 60.0
"""How many seconds `cancel_calls` waits for the elements of a cancelled sweep to end."""
_HELD = "JobHeldUser"
"""The scheduler's reason for an element that its user holds."""
MOVED = "it was moved to another source"
"""The reason in the outcomes of elements that were taken back from a source."""
_TAKEN_OVER = "its points were taken over while the source did not answer"


def calls_by_shard(snapshot: Snapshot, *states: State) -> dict[int, list[int]]:
    """Return the calls that count for the points in `states`, by shard."""
    found: dict[int, list[int]] = {}
    for point in snapshot.points:
        if point.state in states and point.shard is not None and point.call is not None:
            found.setdefault(point.shard, []).append(point.call)
    return found


def cancel_calls(snapshot: Snapshot, reader: SnapshotReader, places: Places) -> int:
    """Cancel the points that wait or run, and wait until they have ended; returns how many points were cancelled.

    Shards that are being submitted are fenced. Raises SchedulerError.
    """
    alive = calls_by_shard(snapshot, State.ALIVE)
    parts = []
    for number, calls in alive.items():
        shard, state = snapshot.shards[number], reader.state(number)
        place = places.of(shard.cluster)
        if state is None or number in snapshot.starting:
            fence_shard(place, shard, "the sweep was cancelled")
        if state is not None:
            parts.append(Part(place, state, calls))
    cancel(parts)
    end = time.monotonic() + _LONGEST_END
    for place, state, indices in parts:
        place.tracker.wait(state, indices, max(0.0, end - time.monotonic()))
    return sum(map(len, alive.values()))


def settle(snapshot: Snapshot, reader: SnapshotReader, places: Places) -> bool:
    """Record an outcome for calls that left none and that their scheduler has forgotten; returns whether there are any.

    Such calls were lost, or cancelled by hand, while nobody followed them.
    """
    open_ = {p.shard for p in snapshot.points if p.state is State.ALIVE and p.job_state and _may_be_lost(p.job_state)}
    found = False
    for number in open_:
        state = reader.state(number) if number is not None else None
        if number is not None and state is not None and state.submitted:
            place = places.of(snapshot.shards[number].cluster)
            try:
                places.act(place, "settle", partial(place.tracker.finish, state))
            except SlurmError as error:
                _log.warning("%s; it is asked later", error)
            else:
                found = True
    return found


def _may_be_lost(state: JobState) -> bool:
    return state.final or state is JobState.UNKNOWN


def fence_shard(place: Place, shard: Shard, reason: str) -> None:
    """End all elements of a shard that have not ended, whether or not it was submitted."""
    outcome = cancelled_outcome(reason, fence=os.urandom(12).hex())
    fence_elements(place.store, {shard.key: set(range(-(-len(shard.numbers) // shard.chunk)))}, outcome)


def fence_taken_over(snapshot: Snapshot, reader: SnapshotReader, places: Places) -> bool:
    """Fence the calls of points that were taken over from shards whose source answers again; returns whether there are
    any.

    The calls are also cancelled if their shard was submitted.
    """
    taken: dict[int, set[int]] = {}
    for shard in snapshot.shards.values():
        for number in shard.instead:
            taken.setdefault(number, set()).update(shard.numbers)
    found = False
    for number, points in taken.items():
        old = snapshot.shards[number]
        state = reader.state(number)
        calls = [at for at, point in enumerate(old.numbers) if point in points and not reader.has_ended(number, at)]
        if not calls or old.url in snapshot.troubles:
            continue
        found, place = True, places.of(old.cluster)
        places.act(place, "end points", partial(_end_taken_over, place, old, state, calls))
        again = " Calls of their elements that had finished run again, too." if old.chunk > 1 else ""
        _log.warning("%d points were taken over from %s, and are ended there now.%s", len(calls), old.source, again)
    return found


def _end_taken_over(place: Place, shard: Shard, state: SubmissionState | None, calls: Sequence[int]) -> None:
    if state is not None and state.submitted:
        cancel([Part(place, state, calls)])
    outcome = cancelled_outcome(_TAKEN_OVER, fence=os.urandom(12).hex())
    fence_elements(place.store, {shard.key: {at // shard.chunk for at in calls}}, outcome)


def may_be_held(point: Point) -> bool:
    """Whether this user may hold the call that counts for a point.

    Slurm's squeue prints one line for all waiting elements of an array, with all their reasons: "Priority,JobHeldUser".
    """
    return _HELD in (point.reason or "").split(",")


def waiting_calls(snapshot: Snapshot, reader: SnapshotReader) -> dict[int, list[int]]:
    """Return the calls that wait to begin and that nobody holds, by shard; see `may_be_held`."""
    found: dict[int, list[int]] = {}
    for point in snapshot.points:
        if point.state is State.ALIVE and point.job_state is JobState.PENDING and not may_be_held(point):
            number, call = point.shard, point.call
            if number is not None and call is not None and (state := reader.state(number)) and state.submitted:
                found.setdefault(number, []).append(call)
    return found


class Waiting(NamedTuple):
    """Waiting calls of a shard. They are all the calls of their elements."""

    number: int
    shard: Shard
    state: SubmissionState
    calls: Sequence[int]

    @property
    def elements(self) -> list[int]:
        """The elements of the calls."""
        return sorted({at // self.shard.chunk for at in self.calls})


class Taken(NamedTuple):
    """The elements that were taken back, by the numbers of their shards, and the outcome that they have now."""

    elements: Mapping[int, set[int]]
    outcome: Outcome


def owed(snapshot: Snapshot) -> list[int]:
    """Return the numbers of points that were taken back from a source but submitted nowhere else, because their driver
    died or the source answered late.
    """
    return [p.number for p in snapshot.points if p.state is State.MISSING and p.ended and p.ended.reason == MOVED]


def take_back(place: Place, several: Sequence[Waiting], directory: SweepDirectory) -> Taken:
    """Take back waiting elements of shards of one place. Elements that have begun stay there. Takes three commands.

    Elements that are not queued yet are fenced. Queued elements are held and then queried once. Elements that are then
    still pending are fenced and cancelled; the others are released. If the scheduler cannot hold single elements, only
    elements that are not queued are taken back. A record in the directory of the sweep names the held elements.

    Raises SlurmError. The record then stays, and a driver releases the elements that it names. For this reason nothing
    is fenced if the answer comes too late: SchedulerError is raised.
    """
    unqueued = {w.number: [e for e in w.elements if w.state.block(e) is None] for w in several}
    queued = {w.number: [e for e in w.elements if w.state.block(e) is not None] for w in several}
    targets = [target for w in several for target in targets_of(w.state, queued[w.number]).values()]
    record, begun = directory.hold(queued) if targets else None, time.monotonic()
    held = _hold(place, [w.state for w in several], targets) if targets else False
    pending = {
        w.number: [e for e in queued[w.number] if held and _is_pending(w.state, e, w.shard.chunk)] for w in several
    }
    if time.monotonic() - begun > place.timings.abandoned_claim / 2:  # another driver may be releasing the elements
        raise SchedulerError(f"{place.url} has answered too late to move points: nothing was taken back")
    outcome = cancelled_outcome(MOVED, fence=os.urandom(12).hex())
    wanted = {w.shard.key: [*unqueued[w.number], *pending[w.number]] for w in several}
    ended = fence_waiting(place.store, wanted, outcome) if any(wanted.values()) else {}
    taken = {w.number: ended.get(w.shard.key, set()) for w in several}
    released, cancelled = list[Target](), list[Target]()
    for w in several if held else ():
        mine = taken[w.number]
        cancelled += targets_of(w.state, [e for e in queued[w.number] if e in mine]).values()
        released += targets_of(w.state, [e for e in queued[w.number] if e not in mine]).values()
    place.queue.client.release_and_cancel(released, cancelled)
    if record:
        record.unlink(missing_ok=True)
    for w in several:
        place.tracker.learn(w.state, dict.fromkeys(taken[w.number], outcome))
    return Taken(taken, outcome)


def _hold(place: Place, states: Sequence[SubmissionState], targets: Sequence[Target]) -> bool:
    """Hold elements and query their submissions, with one command; returns False if the scheduler cannot hold single
    elements. Raises SchedulerError.
    """
    held = False

    def query(ids: Sequence[str]) -> Answers:
        nonlocal held
        answers = place.queue.client.hold_and_query(targets, ids)
        held = True
        return answers

    try:
        found = poller(place, query).query(states)
    except CannotHold:
        return False
    if found.trouble and not found.partly:
        raise SchedulerError(found.trouble)
    return held


def targets_of(state: SubmissionState, elements: Sequence[int]) -> Mapping[str, Target]:
    """Return the array tasks of elements, by the ids of their blocks."""
    tasks: dict[str, list[int]] = {}
    for element in elements:
        if block := state.block(element):
            tasks.setdefault(block.id, []).append(element - block.first)
    return {id_: Target(id_, some, state.key) for id_, some in tasks.items()}


def _is_pending(state: SubmissionState, element: int, chunk: int) -> bool:
    report = state.report(element * chunk)
    return report is not None and report.state is JobState.PENDING and not state.element_finished(element)
