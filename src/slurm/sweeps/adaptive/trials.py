"""Trials: a sampler of Optuna in memory, and the points that it has chosen.

The next choice of the sampler depends only on the points, on how they have ended, and on the seed. So a new process
that adds the same points and the same endings makes the same choices as this process would have made.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import ConfigurationError
from slurm.spaces.identity import canonical, digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slurm.sweeps.adaptive.sampling import Sampling
    from slurm.sweeps.adaptive.settings import Search

_TRIES = 10
"""How often a sampler is asked for a point, if the sweep already has the points that it chooses."""


class Ending(NamedTuple):
    """How a trial has ended."""

    value: float | None
    """The value of the metric of the search; None for a failure."""
    pruned_at: int | None = None
    """The step at which the trial was stopped; None if it was not stopped."""


class Trials:
    """The trials of one search, numbered like the points of its sweep.

    The constructor raises ConfigurationError if Optuna is not installed.
    """

    def __init__(self, search: Search) -> None:
        self._search, self._ranges = search, search.ranges
        self._sampling = _sampling(search)
        self._known: set[str] = set()  # the points by their identity
        self.told: dict[int, Ending] = {}

    def __len__(self) -> int:
        return len(self._known)

    def add(self, params: Mapping[str, Any]) -> None:
        """Add the next point of the sweep, which another process has asked for.

        Raises ConfigurationError if the point is not in the space of the search.
        """
        self._search.check(params)
        self._keep(digest(canonical(params)), params)

    def ask(self) -> dict[str, Any] | None:
        """Choose the next point, and add it; returns None if the space has no other points."""
        for params in itertools.chain(map(self._choose, range(_TRIES)), self._all()):
            if self._keep(digest(params), params):
                return params
        return None

    def tell(self, number: int, ending: Ending) -> None:
        """Tell the sampler how a point has ended. Call this once for each point."""
        self._sampling.tell(number, *ending)
        self.told[number] = ending

    def _choose(self, attempt: int) -> dict[str, Any]:
        """Choose a point: the sampler's random numbers depend on the seed and the number of the point."""
        seed = digest({"seed": self._search.seed, "number": len(self), "attempt": attempt})
        return canonical(self._sampling.choose(int(seed[:8], 16)))

    def _keep(self, identity: str, params: Mapping[str, Any]) -> bool:
        """Add a point; returns False if the point is known already."""
        if identity in self._known:
            return False
        self._known.add(identity)
        self._sampling.add(params)
        return True

    def _all(self) -> Iterator[dict[str, Any]]:
        """Yield the points of a finite space, in a fixed order; nothing for an infinite space."""
        sizes = [each.size for each in self._ranges.values()]
        if len(self) >= math.prod(sizes) or math.inf in sizes:
            return
        for indices in itertools.product(*(range(int(size)) for size in sizes)):
            yield {name: each.at(at) for (name, each), at in zip(self._ranges.items(), indices, strict=True)}


def _sampling(search: Search) -> Sampling:
    try:
        from slurm.sweeps.adaptive.sampling import Sampling  # noqa: PLC0415 - it imports Optuna, a third of a second
    except ImportError as error:
        raise ConfigurationError(
            "a sampler needs Optuna, which is not installed here: pip install 'slurm-tasks[adaptive]'"
        ) from error
    return Sampling(search)
