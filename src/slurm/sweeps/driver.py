"""Driver: follows a sweep until all that was submitted has ended, and collects what ends.

Any number of processes may drive a sweep at once: all that they write is by link(2). What a driver knows besides is in
its memory.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from slurm.errors import SlurmError
from slurm.storage.fencing import cancelled_outcome, fence_elements
from slurm.sweeps.collecting import collect
from slurm.sweeps.snapshot import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.snapshot import Point, Snapshot, SnapshotReader
    from slurm.sweeps.sources import Places

_log = logging.getLogger(__name__)

_MOST = 5000
"""The most outcomes of one file in `collected/`."""
_FIRST_COLLECTION = 5.0
_SHARE = 0.02
"""What has ended is collected after this share of the time that was driven, so that long sweeps have few files."""
_PAUSES = 0.02, 0.5
"""The shortest and the longest pause between two looks at what this process knows, in seconds."""
_LOOK = 2.0
"""The pause between two snapshots while a shard is being submitted or a source does not answer."""
_NEVER_SUBMITTED = "its client ended before it submitted it"


class Driver:
    """Drives one sweep. `resubmit` submits points that a client has claimed and never submitted."""

    def __init__(
        self,
        directory: SweepDirectory,
        reader: SnapshotReader,
        places: Places,
        *,
        resubmit: Callable[[Sequence[int]], object],
    ) -> None:
        self._directory, self._reader, self._places, self._resubmit = directory, reader, places, resubmit
        self._first_seen: dict[int, float] = {}
        self._began = self._collected_at = self._read_at = time.monotonic()
        self._known: dict[int, int] = {}  # finished elements of each shard

    def points(self) -> Iterator[Point]:
        """Each point that is done or has failed, as it ends; ends when nothing that was submitted is left."""
        told: set[int] = set()
        snapshot = self._read()
        pause = _PAUSES[0]
        try:
            with ExitStack() as waiting:
                followed: set[int] = set()
                while True:
                    self._follow(snapshot, followed, waiting)
                    ended = [point for point in snapshot.points if point.state in _ENDED and point.number not in told]
                    left = {point.number for point in snapshot.points if point.state in _OPEN}
                    while True:
                        told.update(point.number for point in ended)
                        yield from ended
                        self._collect()
                        if not left or self._is_stale(snapshot):
                            break
                        pause = _PAUSES[0] if ended else min(1.2 * pause, _PAUSES[1])
                        time.sleep(pause)
                        news = self._news(followed)
                        left -= {point.number for point in news if point.state not in _OPEN}
                        ended = [point for point in news if point.state in _ENDED and point.number not in told]
                    snapshot = self._read()
                    if not any(point.state in _OPEN for point in snapshot.points):
                        ended = [
                            point for point in snapshot.points if point.state in _ENDED and point.number not in told
                        ]
                        yield from ended
                        return
        finally:
            self._collect(all_of_it=True)

    def _read(self) -> Snapshot:
        self._read_at = time.monotonic()
        snapshot = self._reader.read()
        if snapshot.starting and self._end_abandoned(snapshot):
            snapshot = self._reader.read()
        return snapshot

    def _is_stale(self, snapshot: Snapshot) -> bool:
        """Whether another snapshot is due: other processes have written, or a shard or source is awaited."""
        if self._directory.has_news():
            return True
        return bool(snapshot.starting or snapshot.troubles) and time.monotonic() - self._read_at > _LOOK

    def _follow(self, snapshot: Snapshot, followed: set[int], waiting: ExitStack) -> None:
        """Have the tracker of each place follow the shards that have not ended."""
        for number in {point.shard for point in snapshot.points if point.state is State.ALIVE} - followed:
            state = self._reader.state(number) if number is not None else None
            if number is not None and state is not None and state.submitted:
                followed.add(number)
                waiting.enter_context(state.waiting())
                self._places.of(snapshot.shards[number].cluster).tracker.follow(state)

    def _news(self, followed: set[int]) -> list[Point]:
        """The points of elements that have ended since the last look, as far as this process knows."""
        found: list[int] = []
        for number in followed:
            state = self._reader.state(number)
            ended = state.finished_elements if state else []
            if len(ended) > self._known.get(number, 0):
                try:
                    found += self._reader.add_ended(number, ended)
                except SlurmError as error:
                    _log.warning("cannot read outcomes of shard %d: %s; trying again", number, error)
                    continue
                self._known[number] = len(ended)
        return [self._reader.point(number) for number in dict.fromkeys(found)]

    def _collect(self, *, all_of_it: bool = False) -> None:
        """Write what has ended into `collected/`, if that is due."""
        now = time.monotonic()
        due = now - self._collected_at > max(_FIRST_COLLECTION, _SHARE * (now - self._began))
        if all_of_it or due or self._reader.uncollected >= _MOST:
            fresh = self._reader.fresh
            for at in range(0, len(fresh), _MOST):
                collect(self._directory, self._places, fresh[at : at + _MOST])
            self._reader.learn_collected()
            self._collected_at = now

    def _end_abandoned(self, snapshot: Snapshot) -> bool:
        """Fence shards whose clients have died before they queued them, and submit their points anew.

        A client has a minute, from when this process saw the shard first. The fence makes one that was only slow start
        nothing. Returns whether there are any.
        """
        now, abandoned = time.monotonic(), list[int]()
        for number in snapshot.starting:
            shard = snapshot.shards[number]
            place, state = self._places.of(shard.cluster), self._reader.state(number)
            if state is not None:  # its job may be queued
                place.recovery.complete([state])
                if state.submitted or state.refused:
                    continue
            if now - self._first_seen.setdefault(number, now) > place.timings.abandoned_claim:
                outcome = cancelled_outcome(_NEVER_SUBMITTED, fence=os.urandom(12).hex())
                elements = range(-(-len(shard.numbers) // shard.chunk))
                fence_elements(place.store, {shard.key: set(elements)}, outcome)
                _log.warning(
                    "%s was never submitted, because its client ended: its points are submitted anew", shard.key
                )
                abandoned += shard.numbers
        if abandoned:
            self._resubmit(abandoned)
        return bool(abandoned)


_ENDED = (State.DONE, State.FAILED)
_OPEN = (State.ALIVE, State.IN_DOUBT)
