"""Trials: a sampler of Optuna in memory, and the points that it has chosen.

What it chooses next depends on the points, on how they have ended, and on the seed: on nothing else. So a new process
that adds the same points and tells the same endings goes on as this one would have.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import ConfigurationError
from slurm.spaces.identity import canonical, digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slurm.spaces.ranges import Range
    from slurm.sweeps.adaptive.settings import Search

_TRIES = 10
"""How often a sampler is asked again when it chooses a point that there is already."""


class Ending(NamedTuple):
    """How a trial has ended."""

    value: float | None
    """The number that the search looks for; None for a failure."""
    pruned_at: int | None = None
    """The step at which it was stopped, if it was."""


class Trials:
    """The trials of one search, numbered as the points of its sweep. Raises ConfigurationError without Optuna."""

    def __init__(self, search: Search) -> None:
        self._optuna = _import()
        self._search, self._ranges = search, search.ranges
        self._distributions = {name: self._distribution(each) for name, each in search.ranges.items()}
        self._storage = self._optuna.storages.InMemoryStorage()
        self._study = self._new_study()
        self._numbers: list[int] = []  # the trial of each point
        self._known: dict[str, int] = {}  # the points by their identity
        self.told: dict[int, Ending] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, params: Mapping[str, Any]) -> None:
        """Add the next point of the sweep, which another process has asked for. Raises ConfigurationError for one
        that is not in the space of the search.
        """
        self._search.check(params)
        create, running = self._optuna.trial.create_trial, self._optuna.trial.TrialState.RUNNING
        found = {name: self._encoded(name, params) for name in self._ranges}
        self._study.add_trial(create(state=running, params=found, distributions=self._distributions))
        self._keep(digest(canonical(params)), self._trial_count() - 1)

    def ask(self) -> dict[str, Any] | None:
        """Choose the next point, and add it; None if the space has no other points."""
        for attempt in range(_TRIES):
            self._study.sampler = self._sampler(len(self), attempt)
            trial = self._study.ask(self._distributions)
            params = self._decoded(trial.params)
            if self._keep(digest(params), trial.number):
                return params
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        for params in self._all():
            if digest(params) not in self._known:
                self.add(params)
                return params
        return None

    def tell(self, number: int, ending: Ending) -> None:
        """Tell the sampler how a point has ended, once."""
        states, at = self._optuna.trial.TrialState, self._numbers[number]
        if ending.value is None:
            self._study.tell(at, state=states.FAIL)
        elif ending.pruned_at is None:
            self._study.tell(at, ending.value)
        else:
            trial = self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, at)  # noqa: SLF001
            self._storage.set_trial_intermediate_value(trial, ending.pruned_at, ending.value)
            self._study.tell(at, state=states.PRUNED)
        self.told[number] = ending

    def _keep(self, identity: str, trial: int) -> bool:
        """Note the trial of the next point; False if there is such a point."""
        if identity in self._known:
            return False
        self._known[identity] = len(self._numbers)
        self._numbers.append(trial)
        return True

    def _trial_count(self) -> int:
        return int(self._storage.get_n_trials(self._study._study_id))  # noqa: SLF001 - Study.trials copies all of them

    def _new_study(self) -> Any:
        """Make an empty study. Optuna logs each to standard error, which is of no use here."""
        logs = self._optuna.logging
        level = logs.get_verbosity()
        logs.set_verbosity(logs.WARNING)
        try:
            return self._optuna.create_study(storage=self._storage, direction=self._search.direction)
        finally:
            logs.set_verbosity(level)

    def _sampler(self, number: int, attempt: int) -> Any:
        """The sampler of one point: its random numbers depend on the seed and the number of the point."""
        seed = int(digest({"seed": self._search.seed, "number": number, "attempt": attempt})[:8], 16)
        samplers = self._optuna.samplers
        if self._search.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        return samplers.TPESampler(seed=seed)

    def _all(self) -> Iterator[dict[str, Any]]:
        """The points of a finite space, in a fixed order; none of others."""
        sizes = [each.size for each in self._ranges.values()]
        if len(self) >= math.prod(sizes) or math.inf in sizes:
            return
        for indices in itertools.product(*(range(int(size)) for size in sizes)):
            yield {name: each.at(at) for (name, each), at in zip(self._ranges.items(), indices, strict=True)}

    # Optuna's values: of a choice, the index, because Optuna knows no lists and takes 1 and True for one.

    def _distribution(self, values: Range) -> Any:
        of = self._optuna.distributions
        if values.kind == "choice":
            return of.CategoricalDistribution(range(len(values.values)))
        if values.kind == "integer":
            return of.IntDistribution(int(values.low), int(values.high), log=values.log)
        return of.FloatDistribution(values.low, values.high, log=values.log)

    def _encoded(self, name: str, params: Mapping[str, Any]) -> Any:
        values = self._ranges[name]
        return values.position(params[name]) if values.kind == "choice" else params[name]

    def _decoded(self, found: Mapping[str, Any]) -> dict[str, Any]:
        return canonical(
            {
                name: each.at(found[name]) if each.kind == "choice" else found[name]
                for name, each in self._ranges.items()
            }
        )


def _import() -> Any:
    try:
        import optuna  # noqa: PLC0415 - few sweeps search; it takes a third of a second
    except ImportError as error:
        raise ConfigurationError(
            "a sampler needs Optuna, which is not installed here: pip install 'slurm-tasks[adaptive]'"
        ) from error
    return optuna
