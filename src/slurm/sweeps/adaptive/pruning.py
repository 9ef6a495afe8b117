"""Pruning: stop a point whose reports of progress are worse than the median of the points that have ended.

Reports are read at the sources, at most every few seconds, with one command for each source.
"""

from __future__ import annotations

import logging
import math
import time
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import SlurmError
from slurm.notifications.progress_reader import ProgressQuery, fields, read_progress
from slurm.protocol import EVENTS
from slurm.storage.inbox import message_record, send
from slurm.sweeps.adaptive.search import PRUNED
from slurm.sweeps.snapshot import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.notifications.progress_reader import ReportedProgress
    from slurm.sweeps.adaptive.settings import Search
    from slurm.sweeps.records import Shard
    from slurm.sweeps.snapshot import Point, Snapshot
    from slurm.sweeps.sources import Places

_log = logging.getLogger(__name__)

FEWEST = 5
"""How many finished points must have reported as many steps as a point before this point is stopped."""
_EVERY = 2.0
"""The shortest pause between two readings of the reports, in seconds."""
_SHARE = 20
"""The pause is at least this many times as long as the last reading took."""


class Reports(NamedTuple):
    """The reports of the last attempt of a point: its steps, and the best value up to each step."""

    attempt: int = 0
    steps: tuple[float, ...] = ()
    best: tuple[float, ...] = ()

    def add(self, attempt: int, step: float, value: float, *, largest: bool) -> Reports:
        """Return the reports with one more. A report of a later attempt discards the reports of the earlier ones."""
        known = self if attempt == self.attempt else Reports(attempt)
        best = (max if largest else min)(value, known.best[-1]) if known.best else value
        return Reports(attempt, (*known.steps, step), (*known.best, best))

    def at(self, step: float) -> float | None:
        """Return the best value up to a step; None if the point did not get that far, or had no value."""
        if not self.steps or self.steps[-1] < step:
            return None
        return next((best for at, best in zip(self.steps[::-1], self.best[::-1], strict=True) if at <= step), None)


def is_worse(own: Reports, others: Iterable[Reports], *, largest: bool) -> bool:
    """Whether the best value of a point is worse than the median of the best values of others after as many steps.

    False while fewer than five other points have got that far.
    """
    if not own.steps:
        return False
    values = [value for each in others if (value := each.at(own.steps[-1])) is not None]
    if len(values) < FEWEST:
        return False
    return own.best[-1] < median(values) if largest else own.best[-1] > median(values)


class Pruner:
    """Reads the reports of one sweep's points, and asks the points that are worse than the median to stop."""

    def __init__(self, places: Places, search: Search) -> None:
        self._places, self._search = places, search
        self._reports: dict[int, Reports] = {}  # by point
        self._ends: dict[tuple[int, int], int] = {}  # bytes read from the file of each call, by shard and call
        self._complete: set[tuple[int, int]] = set()  # calls that had ended when their file was read
        self._asked: set[tuple[int, int]] = set()
        self._due = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to read the reports again."""
        return time.monotonic() >= self._due

    def look(self, snapshot: Snapshot) -> list[int]:
        """Read new reports, and ask points to stop; returns the numbers of these points.

        A source that fails is logged, and read again at the next call.
        """
        began = time.monotonic()
        by_url: dict[str, dict[int, list[Point]]] = {}
        for point in snapshot.points:
            if point.shard is not None and point.call is not None and point.state in (State.ALIVE, State.DONE):
                at = point.shard, point.call
                if at not in self._complete:
                    url = snapshot.shards[point.shard].url
                    by_url.setdefault(url, {}).setdefault(point.shard, []).append(point)
        stopped = list[int]()
        for shards in by_url.values():
            try:
                self._read(snapshot.shards, shards)
                stopped += self._stop(snapshot, shards)
            except SlurmError as error:
                _log.warning("cannot look for points to stop: %s; trying again", error)
        now = time.monotonic()
        self._due = now + max(_EVERY, _SHARE * (now - began))
        return stopped

    def _read(self, shards: Mapping[int, Shard], wanted: Mapping[int, Sequence[Point]]) -> None:
        """Read the new reports of the points at one source. Raises TransportError."""
        place = self._places.of(shards[next(iter(wanted))].cluster)
        queries = [
            ProgressQuery(
                f"{place.store.directory(shards[number].key)}/{EVENTS}",
                shards[number].chunk,
                {p.call: self._ends.get((number, p.call), 0) for p in some if p.call is not None},
            )
            for number, some in wanted.items()
        ]
        for number, found in zip(wanted, read_progress(place.transport, queries), strict=True):
            for each in found:
                self._add(number, shards[number].numbers[each.call], each)
        done = (p for some in wanted.values() for p in some if p.state is State.DONE)
        self._complete.update((p.shard, p.call) for p in done if p.shard is not None and p.call is not None)

    def _add(self, shard: int, point: int, found: ReportedProgress) -> None:
        self._ends[shard, found.call] = found.end
        for line in found.lines:
            report = fields(line)
            value = report["metrics"].get(self._search.metric) if report else None
            if report and isinstance(value, int | float) and math.isfinite(value):
                known = self._reports.get(point, Reports())
                self._reports[point] = known.add(report["attempt"], report["done"], value, largest=self._search.largest)

    def _stop(self, snapshot: Snapshot, wanted: Mapping[int, Sequence[Point]]) -> list[int]:
        """Ask the points of one source that are worse than the median to stop. Raises TransportError."""
        done = [p.number for p in snapshot.points if p.state is State.DONE and PRUNED not in _metrics(p)]
        others = [self._reports[number] for number in done if number in self._reports]
        stopped = list[int]()
        for number, some in wanted.items():
            worse = [
                point
                for point in some
                if point.state is State.ALIVE
                and point.call is not None
                and (number, point.call) not in self._asked
                and is_worse(self._reports.get(point.number, Reports()), others, largest=self._search.largest)
            ]
            calls = [point.call for point in worse if point.call is not None]
            if calls:
                shard = snapshot.shards[number]
                place = self._places.of(shard.cluster)
                send(place.transport, place.store.directory(shard.key), message_record(None, calls, stop=True))
                self._asked.update((number, call) for call in calls)
                stopped += [point.number for point in worse]
                _log.info("points %s are worse than the median, and are asked to stop", [p.number for p in worse])
        return stopped


def _metrics(point: Point) -> Mapping[str, float]:
    return (point.ended.metrics if point.ended else None) or {}
