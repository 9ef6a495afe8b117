"""Holds: elements that drivers hold while they move them. A record names each, so that no other element is released.

An element that is held and has no record is held by its user, and stays held.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from slurm.protocol.states import JobState
from slurm.submission.timings import Timings
from slurm.sweeps.moving import may_be_held, targets_of
from slurm.sweeps.records import Hold
from slurm.sweeps.snapshot import State

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.snapshot import Snapshot, SnapshotReader
    from slurm.sweeps.sources import Places


class Holds:
    """The holds of the drivers of one sweep, as this process sees them."""

    def __init__(self, directory: SweepDirectory) -> None:
        self._directory = directory
        self._seen: dict[Path, float] = {}  # when this process first saw a record
        self._pause = Timings().abandoned_claim

    def is_due(self) -> bool:
        """Whether there is a record that this process has not seen before, or a record that is too old."""
        now, found = time.monotonic(), self._directory.holds()
        return any(path not in self._seen or now - self._seen[path] > self._pause for path in found)

    def release_abandoned(self, snapshot: Snapshot, reader: SnapshotReader, places: Places) -> None:
        """Release elements that a driver has held and neither moved nor released, because it died.

        A live driver needs seconds to move or release elements; after a minute, it counts as dead. Holds at sources
        that do not answer stay. Takes one command for each shard. Raises SlurmError.
        """
        now = time.monotonic()
        self._seen = {path: self._seen.get(path, now) for path in self._directory.holds()}
        for path, since in self._seen.items():
            try:
                elements = Hold.loads(path.read_bytes(), where=str(path)).pairs
            except FileNotFoundError:  # its driver has removed it
                continue
            several = {number: snapshot.shards[number] for number, _ in elements if number in snapshot.shards}
            pauses = [places.of(each.cluster).timings.abandoned_claim for each in several.values()]
            self._pause = max(pauses, default=self._pause)
            silent = any(each.url in snapshot.troubles for each in several.values())
            if silent or now - since >= self._pause:
                self._seen[path] = now  # after a source answers again, the driver has a full minute
            if not silent and now - since >= self._pause:
                _release(snapshot, reader, places, elements & held_elements(snapshot))
                path.unlink(missing_ok=True)


def held_elements(snapshot: Snapshot) -> set[tuple[int, int]]:
    """Return the waiting elements that this user may be holding, as pairs of the shard's number and the element."""
    return {
        (point.shard, point.call // snapshot.shards[point.shard].chunk)
        for point in snapshot.points
        if point.state is State.ALIVE and point.job_state is JobState.PENDING and may_be_held(point)
        if point.shard is not None and point.call is not None
    }


def _release(snapshot: Snapshot, reader: SnapshotReader, places: Places, elements: Iterable[tuple[int, int]]) -> None:
    of_shard: dict[int, list[int]] = {}
    for number, element in sorted(elements):
        of_shard.setdefault(number, []).append(element)
    for number, some in of_shard.items():
        if state := reader.state(number):
            place, targets = places.of(snapshot.shards[number].cluster), list(targets_of(state, some).values())
            places.act(place, "release", partial(place.queue.client.hold, targets, release=True))
