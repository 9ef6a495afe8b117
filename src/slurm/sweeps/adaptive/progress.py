"""SearchStatus: how far an adaptive search is, from the points of a snapshot; Trial: the value of one of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.sweeps.adaptive.search import PRUNED
from slurm.sweeps.snapshot import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.sweeps.adaptive.settings import Search
    from slurm.sweeps.snapshot import Point


class SearchStatus(NamedTuple):
    """How far an adaptive search is."""

    sampler: str
    direction: str
    trials: int | None
    """How many points the search asks for in all; None if that is not known."""
    ended: int
    """How many points are done or have failed."""
    pruned: int
    metric: str
    best: float | None
    """The best value so far among the points that were not pruned."""
    point: int | None
    """The number of the first point that has the best value."""

    def __str__(self) -> str:
        of = f" of {self.trials}" if self.trials else ""
        pruned = f", {self.pruned} pruned" if self.pruned else ""
        best = f"; best {self.metric} {self.best:.6g}, at point {self.point}" if self.best is not None else ""
        return f"search by {self.sampler}: {self.ended}{of} trials ended{pruned}{best}"


class Trial(NamedTuple):
    """A point of a search that is done, and has a value."""

    point: int
    params: Mapping[str, Any]
    value: float
    pruned: bool
    best: float | None
    """The best value of this point and the points with lower numbers; pruned points do not count."""


def trials_of(points: Iterable[Point], search: Search) -> list[Trial]:
    """Return the points that have a finite value, in the order of their numbers."""
    found = list[Trial]()
    best: float | None = None
    for point in points:
        value = _metrics(point).get(search.metric)
        if value is not None and math.isfinite(value):
            pruned = _is_pruned(point, search)
            if not pruned:
                best = value if best is None else (max if search.largest else min)(best, value)
            found.append(Trial(point.number, point.params, value, pruned, best))
    return found


def search_status(points: Sequence[Point], search: Search) -> SearchStatus:
    """Return how far a search is: count the points that have ended, and find the first point with the best value."""
    trials = trials_of(points, search)
    best = trials[-1].best if trials else None
    at = next((each.point for each in trials if each.best == best and not each.pruned), None)
    return SearchStatus(
        search.sampler,
        search.direction,
        search.trials,
        sum(point.state in (State.DONE, State.FAILED) for point in points),
        sum(_is_pruned(point, search) for point in points),
        search.metric,
        best,
        at,
    )


def _metrics(point: Point) -> Mapping[str, float]:
    return (point.ended.metrics if point.ended and point.state is State.DONE else None) or {}


def _is_pruned(point: Point, search: Search) -> bool:
    return search.prune is not None and PRUNED in _metrics(point)
