"""Running: submit points of a sweep from this process, with its sources, its options and its size of chunks."""

from __future__ import annotations

import logging
from itertools import chain
from typing import TYPE_CHECKING, Literal

from slurm.clusters.cluster import Cluster
from slurm.errors import ConfigurationError, SubmissionError
from slurm.jobs.chunking import AUTO, CANARY, canary_of, chunk_for
from slurm.options import NONE, Options
from slurm.sweeps.code import Code
from slurm.sweeps.moving import settle
from slurm.sweeps.snapshot import State
from slurm.sweeps.sources import sources_of
from slurm.sweeps.submitting import Submitter, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.snapshot import Snapshot, SnapshotReader
    from slurm.sweeps.sources import On, Places, Source
    from slurm.sweeps.submitting import Unit

    Chunk = int | Literal["auto"] | None
    Wanted = Callable[[Snapshot], list[int]]

_log = logging.getLogger(__name__)

MOST_SINGLE = 2000
"""The most points that are submitted if the user says nothing about chunks. Each such point is an element of an array,
and more elements would flood the queue.
"""


class Running:
    """Submits points of one sweep, when its user or a driver asks for it."""

    adaptive = False
    """Whether an adaptive search asks for new points as others end."""

    def __init__(self, directory: SweepDirectory, reader: SnapshotReader, places: Places, unit: Unit) -> None:
        self._directory, self._reader, self._places, self._unit = directory, reader, places, unit
        self._submitter = Submitter(directory, reader, places)
        self.sources: Sequence[Source] = ()
        self._options, self._strategy = NONE, "slots"
        self._rest: Wanted | None = None

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
        """Submit the points that are `wanted`; with `chunk="auto"`, only the first ones. Returns how many points.

        `seconds` is the duration of one point, from which the size of the chunks is computed.
        """
        self.sources = sources_of(Cluster.current() if on is None else on)
        self._strategy, self._rest = strategy, None
        if chunk is None and seconds is None and self._unit.settings.options.get("chunk_size") == AUTO:
            chunk = AUTO
        size = chunk_for(seconds) if seconds is not None and chunk is None else chunk
        self._options = options.merged(Options.parse({"chunk_size": size} if isinstance(size, int) else {}))
        snapshot = self._reader.read()
        if settle(snapshot, self._reader, self._places):
            snapshot = self._reader.read()
        numbers = wanted(snapshot)
        if chunk == AUTO and len(numbers) > CANARY:
            first = frozenset(canary_of(numbers))
            self._rest = wanted
            _log.info(
                "%d points run first; the other %d wait until this process drives the sweep: as_completed() or drive()",
                len(first),
                len(numbers) - len(first),
            )
            return self._submit(lambda snapshot: [n for n in wanted(snapshot) if n in first], why="canary")
        if len(numbers) > MOST_SINGLE and size is None:
            self._refuse_single(len(numbers))
        return self._submit(wanted, why=why) if numbers else 0

    def resubmit(
        self, numbers: Sequence[int], *, why: str, sources: Sequence[Source] | None = None, look: bool = True
    ) -> int:
        """Submit the points of `numbers` that are missing; returns how many. Without `look`, asks no source first."""
        if not self.sources:
            shards = self._directory.shards()
            self.sources = [self._places.source(shards[max(shards)])]
        some = frozenset(numbers)
        return self._submit(
            lambda snapshot: [n for n in snapshot.numbers(State.MISSING) if n in some],
            why=why,
            sources=sources,
            look=look,
        )

    def left_out(self, snapshot: Snapshot) -> str | None:
        """Return a sentence on the points that wait for the canary, and that only this process submits.

        None if no points wait.
        """
        if not (self._rest and (count := len(self._rest(snapshot)))):
            return None
        return (
            f"{count} points were not submitted, because this process leaves before the first points have ended: "
            "complete(chunk=…) submits them"
        )

    def refill(self, snapshot: Snapshot, avoid: Iterable[str] = ()) -> int:
        """Do nothing, and return 0: only an adaptive search has points to submit here."""
        del snapshot, avoid
        return 0

    def tend(self) -> None:
        """Do nothing: only an adaptive search stops points that are worse than others."""

    def more(self, snapshot: Snapshot) -> int:
        """Submit the points that waited for the canary; returns how many. Does nothing if no point of the canary has
        succeeded.
        """
        if self._rest is None:
            return 0
        wanted, self._rest = self._rest, None
        canary = [number for number, shard in snapshot.shards.items() if shard.why == "canary"]
        took = [
            p.ended.seconds for p in snapshot.points if p.ended and p.shard in canary and p.ended.seconds is not None
        ]
        if not any(point.state is State.DONE and point.shard in canary for point in snapshot.points):
            _log.warning("none of the first %d points has succeeded, so the others are not submitted", len(took))
            return 0
        size = chunk_for(sum(took) / len(took))
        _log.info("the first points took %.1f s each: %d go into one element", sum(took) / len(took), size)
        self._options = self._options.merged(Options.parse({"chunk_size": size}))
        return self._submit(wanted, why="run")

    def _submit(self, wanted: Wanted, *, why: str, sources: Sequence[Source] | None = None, look: bool = True) -> int:
        ready = prepare(self._unit, sources or self.sources, self._options, self._places)
        for each in ready:
            self._places.add(each.source)
        found = self._submitter.submit(ready, wanted, why=why, strategy=self._strategy, look=look)
        count = found.points + self._submit_elsewhere(found.refused, why)
        if found.error and not count:
            raise found.error
        return count

    def _submit_elsewhere(self, refused: Mapping[str, Sequence[int]], why: str) -> int:
        """Submit points that sources have refused at the other sources; returns how many points.

        From then on, only the other sources are used.
        """
        others = [source for source in self.sources if source.name not in refused]
        if not refused or not others:
            return 0
        self.sources = others
        numbers = list(chain.from_iterable(refused.values()))
        names = ", ".join(source.name for source in others)
        _log.warning("%d points go to %s, because %s refused them", len(numbers), names, ", ".join(refused))
        try:
            return self.resubmit(numbers, why=why)
        except SubmissionError:  # the error is logged already
            return 0

    def _refuse_single(self, count: int) -> None:
        """Raise ConfigurationError if neither the task nor its cluster says how many points go into an element."""
        for source in self.sources:
            options = source.cluster.settings.merged(self._unit.settings).options.merged(self._options)
            if not (options.get("chunk_size") or options.get("workers")):
                raise ConfigurationError(
                    f"{count} points would be {count} elements at {source.name}, which floods its queue: say how many "
                    "points go into an element with chunk=, or how long one takes with seconds=, or use chunk='auto' "
                    "and drive the sweep"
                )


def changed(directory: SweepDirectory, unit: Unit) -> Callable[[Snapshot], list[int]]:
    """Return a function that finds the done points that were computed by other code than the task has now."""
    codes: dict[str, Code] = {}

    def wanted(snapshot: Snapshot) -> list[int]:
        now, others = unit.digest, set[int]()
        for number, shard in snapshot.shards.items():
            if shard.code not in codes:
                codes[shard.code] = Code.read(directory.path, shard.code)
            if codes[shard.code].digest != now:
                others.add(number)
        return [point.number for point in snapshot.points if point.state is State.DONE and point.shard in others]

    return wanted


def tell_changed(found: Sequence[int], snapshot: Snapshot) -> None:
    """Log how many points were computed by other code."""
    done = snapshot.counts.get(State.DONE, 0)
    if found:
        _log.warning(
            "%d of %d points were computed by other code: redo='changed' computes them again", len(found), done
        )


def in_states(*states: State) -> Callable[[Snapshot], list[int]]:
    """Return a function that finds the points in `states`."""
    return lambda snapshot: snapshot.numbers(*states)
