"""SearchStatus: how far an adaptive search is, from the points of a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slurm.sweeps.adaptive.search import PRUNED
from slurm.sweeps.snapshot import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.sweeps.adaptive.settings import Search
    from slurm.sweeps.snapshot import Point


class SearchStatus(NamedTuple):
    """How far an adaptive search is."""

    trials: int | None
    """How many points it asks for in all, if that is known."""
    ended: int
    """How many points are done or have failed."""
    pruned: int
    metric: str
    best: float | None
    """The best value so far, of points that were not pruned."""
    point: int | None
    """The point that has it."""

    def __str__(self) -> str:
        of = f" of {self.trials}" if self.trials else ""
        pruned = f", {self.pruned} pruned" if self.pruned else ""
        best = f"; best {self.metric} {self.best:.6g}, at point {self.point}" if self.best is not None else ""
        return f"search: {self.ended}{of} trials ended{pruned}{best}"


def search_status(points: Sequence[Point], search: Search) -> SearchStatus:
    """How far a search is. Counts the points that have ended, and finds the best."""
    ended = pruned = 0
    best: tuple[float, int] | None = None
    sign = -1 if search.largest else 1
    for point in points:
        ended += point.state in (State.DONE, State.FAILED)
        metrics = (point.ended.metrics if point.ended and point.state is State.DONE else None) or {}
        pruned += bool(search.prune and PRUNED in metrics)
        value = metrics.get(search.metric)
        if value is not None and value == value and not (search.prune and PRUNED in metrics):  # noqa: PLR0124 - NaN
            best = min(best or (sign * value, point.number), (sign * value, point.number))
    value, number = (sign * best[0], best[1]) if best else (None, None)
    return SearchStatus(search.trials, ended, pruned, search.metric, value, number)
