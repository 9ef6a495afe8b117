"""AdaptiveSearch: the sampler of one sweep, kept equal to the points and the outcomes that the sweep has."""

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
"""The metric that a call has which was asked to stop: the step of its last report."""
_ENDED = (State.DONE, State.FAILED)


class AdaptiveSearch:
    """Chooses the points of one sweep. Other processes may choose points of it at the same time."""

    def __init__(self, directory: SweepDirectory, settings: Search) -> None:
        self._directory, self.settings = directory, settings
        self._trials: Trials | None = None
        self._exhausted = False

    def left(self, known: int) -> int:
        """How many points a driver asks for yet, after those that are known; 0 if only `Sweep.ask` asks for points."""
        return 0 if self._exhausted else max(0, (self.settings.trials or 0) - known)

    def ask(self, count: int, *, most: int | None = None) -> list[int]:
        """Choose points, and add them to the sweep by one file; returns their numbers, at most up to `most` in all.

        There are fewer if the space has no other points. Each process that asks adds its points under the next number
        of `extensions/`, or finds it taken, and then chooses anew, with the other's points in mind.
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
        """Tell the sampler how points have ended; returns how many of that it did not know. Others are left out.

        Raises ConfigurationError if points succeed, and none of them has the metric.
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
        """The trials with all points of the sweep: those that other processes have asked for are added."""
        trials = self._trials = self._trials or Trials(self.settings)
        for params in self._directory.points()[len(trials) :]:
            trials.add(params)
        return trials

    def _replay(self, told: Mapping[int, Ending] | None = None) -> Trials:
        """Begin with a new sampler, and tell it all that is known."""
        if told is None:
            told = self._trials.told if self._trials else {}
        self._trials = None
        trials = self._synchronised()
        for number, ending in told.items():
            trials.tell(number, ending)
        return trials
