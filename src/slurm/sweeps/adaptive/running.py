"""AdaptiveRunning: submits points for a driver as slots become free; the sampler chooses them at that moment."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from slurm.errors import ConfigurationError
from slurm.jobs.chunking import AUTO
from slurm.sweeps.adaptive.pruning import Pruner
from slurm.sweeps.running import Running
from slurm.sweeps.snapshot import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.options import Options
    from slurm.sweeps.adaptive.search import AdaptiveSearch
    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.running import Chunk, Wanted
    from slurm.sweeps.snapshot import Snapshot, SnapshotReader
    from slurm.sweeps.sources import On, Places, Source
    from slurm.sweeps.submitting import Unit

_log = logging.getLogger(__name__)

SLOTS = 8
"""How many points run at once at a source for which no number was given."""


class AdaptiveRunning(Running):
    """Submits the points of an adaptive search."""

    adaptive = True

    def __init__(
        self,
        directory: SweepDirectory,
        reader: SnapshotReader,
        places: Places,
        unit: Unit,
        search: AdaptiveSearch,
    ) -> None:
        super().__init__(directory, reader, places, unit)
        self._search = search
        self._pruner = Pruner(places, search.settings) if search.settings.prune else None

    def submit(
        self,
        on: On | Iterable[On] | None,
        wanted: Wanted,
        *,
        why: str,
        strategy: str,
        options: Options,
        chunk: Chunk = None,
        seconds: float | None = None,
    ) -> int:
        """Submit the points that are `wanted`, and new points while there are free slots; returns how many points.

        Raises ConfigurationError for `chunk="auto"`.
        """
        if AUTO in (chunk, self._unit.settings.options.get("chunk_size")):
            raise ConfigurationError(
                'chunk="auto" of an adaptive search: it has no points yet to tell how long one takes; say chunk= or '
                "seconds=, or leave it out"
            )
        count = super().submit(on, wanted, why=why, strategy=strategy, options=options, chunk=chunk, seconds=seconds)
        return count + self.refill(self._reader.read(look=False))

    def refill(self, snapshot: Snapshot, avoid: Iterable[str] = ()) -> int:
        """Submit as many points as there are free slots: first the points that were asked for and never submitted, then
        new ones. Returns how many points.

        The sources in `avoid` get none. After `cancel`, no point is asked for until `run` or `complete`.
        """
        self._search.tell(snapshot.points)
        missing = [point for point in snapshot.points if point.state is State.MISSING]
        if any(point.shard is not None for point in missing):  # the sweep was cancelled
            return 0
        waiting = [point.number for point in missing]
        total, count = len(snapshot.points), 0
        size = self._chunk_size()
        for source in self._known_sources(snapshot):
            free = 0 if source.name in avoid else self._free(source, snapshot, size)
            some, waiting = waiting[:free], waiting[free:]
            if left := min(free - len(some), self._search.left(total)):
                new = self._search.ask(left, most=self._search.settings.trials)
                total += len(new)
                some = [*some, *new]
            if some:
                count += self.resubmit(some, why="trials", sources=[source], look=False)
        return count

    def tend(self) -> None:
        """Ask points that are worse than others to stop, if it is time to read their reports."""
        if self._pruner and self._pruner.due:
            self._pruner.look(self._reader.read(look=False))

    def left_out(self, snapshot: Snapshot) -> str | None:
        """Return a sentence on the points that a driver has not asked for yet; None if there are none."""
        left = self._search.left(len(snapshot.points))
        if not left:
            return None
        return f"{left} points of the search are not asked for yet: run or complete asks for them, and drives the sweep"

    def _chunk_size(self) -> int:
        found = self._options.get("chunk_size") or self._unit.settings.options.get("chunk_size")
        return int(found) if isinstance(found, int) else 1

    def _free(self, source: Source, snapshot: Snapshot, size: int) -> int:
        """Return how many points a source has room for."""
        taken = sum(
            point.source == source.name and point.state in (State.ALIVE, State.IN_DOUBT) for point in snapshot.points
        )
        return max(0, (source.slots or SLOTS) * size - taken)

    def _known_sources(self, snapshot: Snapshot) -> Sequence[Source]:
        """Return the sources of the last `run` or `complete` of this process, or else the sources of the shards."""
        if not self.sources:
            found: dict[str, Source] = {}
            for shard in snapshot.shards.values():  # a later shard has the slots that the earlier ones have left
                source = found.get(shard.source) or self._places.source(shard)
                slots = max(source.slots or 0, shard.slots or 0) or None
                found[shard.source] = source._replace(slots=slots)
            self.sources = list(found.values())
        return self.sources
