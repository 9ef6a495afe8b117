"""AdaptiveSearch: the sampler of one sweep, synchronized with the points and the outcomes of the sweep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError
from slurm.sweeps.adaptive.trials import Ending, Trials
from slurm.sweeps.snapshot import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurm.sweeps.adaptive.settings import Search
    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.snapshot import Point

PRUNED = "pruned"
"""The name of the metric of a call that was asked to stop. Its value is the step of the last report of the call."""
_ENDED = (State.DONE, State.FAILED)


class AdaptiveSearch:
    """Chooses the points of one sweep. Other processes may choose points of the same sweep at the same time."""

    def __init__(self, directory: SweepDirectory, settings: Search) -> None:
        self._directory, self.settings = directory, settings
        self._trials: Trials | None = None
        self._exhausted = False

    def left(self, known: int) -> int:
        """Return how many more points a driver asks for, if `known` exist; 0 if only `Sweep.ask` asks for points."""
        return 0 if self._exhausted else max(0, (self.settings.trials or 0) - known)

    def ask(self, count: int, *, most: int | None = None) -> list[int]:
        """Choose `count` points, and add them to the sweep in one file; returns their numbers.

        There are fewer if the sweep would have more than `most` points, or if the space has no other points. Each
        process adds its points under the next number of `extensions/`. If another process has taken this number, it
        chooses again, with the points of the other process taken into account.
        """
        while True:
            trials, before = self._synchronised(), len(self._directory.points())
            wanted = count if most is None else min(count, most - before)
            new: list[Mapping[str, Any]] = []
            while len(new) < wanted and (params := trials.ask()) is not None:
                new.append(params)
            self._exhausted = len(new) < wanted
            if not new or self._directory.extend(self._directory.extensions + 1, new):
                self._directory.points()
                return list(range(before, before + len(new)))
            self._replay()

    def tell(self, points: Iterable[Point]) -> int:
        """Tell the sampler how points have ended; returns how many of these results are new. Skips points that have not
        ended.

        Raises ConfigurationError if points have succeeded, and none of them has the metric.
        """
        ended = {point.number: self._ending(point) for point in points if point.state in _ENDED}
        trials = self._synchronised()
        new = {number: ending for number, ending in ended.items() if trials.told.get(number) != ending}
        if any(number in trials.told for number in new):  # a failed point was computed again
            trials = self._replay(trials.told | new)
        else:
            for number, ending in new.items():
                trials.tell(number, ending)
        return len(new)

    def _ending(self, point: Point) -> Ending:
        metrics = (point.ended.metrics if point.ended and point.state is State.DONE else None) or {}
        value = metrics.get(self.settings.metric)
        if value is None and point.state is State.DONE and not self._has_values():
            raise ConfigurationError(
                f"point {point.number} has no metric {self.settings.metric!r}, which the search looks for; it has "
                f"{', '.join(metrics) or 'none'}. Return a mapping of names to numbers, or name another: metric=…"
            )
        if value is None or not math.isfinite(value):
            return Ending(None)
        pruned = self.settings.prune and PRUNED in metrics
        return Ending(float(value), int(metrics[PRUNED]) if pruned else None)

    def _has_values(self) -> bool:
        return self._trials is not None and any(each.value is not None for each in self._trials.told.values())

    def _synchronised(self) -> Trials:
        """Return the trials, after the points that other processes have asked for are added."""
        trials = self._trials = self._trials or Trials(self.settings)
        for params in self._directory.points()[len(trials) :]:
            trials.add(params)
        return trials

    def _replay(self, told: Mapping[int, Ending] | None = None) -> Trials:
        """Make a new sampler, and give it all points and the endings `told`, or by default the known endings."""
        if told is None:
            told = self._trials.told if self._trials else {}
        self._trials = None
        trials = self._synchronised()
        for number, ending in told.items():
            trials.tell(number, ending)
        return trials
