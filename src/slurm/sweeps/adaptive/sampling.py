"""Sampling: choose the next point by a sampler of Optuna, from the trials of a search.

Imports Optuna, and is imported when a sampler is first needed. The sampler is called directly, as a study of Optuna
calls it, because a study copies and stores each trial. TPE looks at all trials that it is shown, so their number has a
limit.
"""

from __future__ import annotations

import bisect
import warnings
from typing import TYPE_CHECKING, Any

from optuna import create_study, load_study, logging
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from slurm.spaces.ranges import Range
    from slurm.sweeps.adaptive.settings import Search

_STUDY = "search"

SHOWN = 1000
"""The most trials that have ended, and the most that have not, which a sampler is shown.

With 250 it chooses twice as fast, and its searches are worse: see docs/benchmarks.md.
"""

_BEST = 25
"""How many trials TPE takes for good ones, of more than 250."""

_DISCRETE = 100
"""An integer with more values is a real number for the sampler, and is rounded, because TPE is slow with many integers.

No kernel of TPE is narrower than a hundredth of the range, so it does not see the steps.
"""


class Sampling:
    """A sampler, and the trials that it may be shown, numbered from 0."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._distributions = {name: _distribution(each) for name, each in search.ranges.items()}
        self._varied = {name: each for name, each in sorted(self._distributions.items()) if not each.single()}
        self._storage = _Shown()
        _make_study(self._storage, search.direction)
        self._trials: list[FrozenTrial] = []
        self._open: dict[int, None] = {}
        self._ended: list[int] = []  # in order; without failures, of which a sampler learns nothing
        self._ranked: list[tuple[tuple[float, ...], int]] = []  # the same, the best first

    def add(self, params: Mapping[str, Any]) -> None:
        """Add the next trial."""
        number = len(self._trials)
        self._trials.append(self._running(number, {name: self._encoded(name, params[name]) for name in params}))
        self._open[number] = None

    def tell(self, number: int, value: float | None, pruned_at: int | None) -> None:
        """Tell how a trial has ended, once: with a value, or by a failure; and the step at which it was stopped."""
        trial = self._trials[number]
        del self._open[number]
        if value is None:
            return
        rank: tuple[float, ...]
        sign = -1.0 if self._search.largest else 1.0
        if pruned_at is None:
            trial.state, trial.value, rank = TrialState.COMPLETE, value, (0.0, sign * value)
        else:
            trial.state, trial.intermediate_values = TrialState.PRUNED, {pruned_at: value}
            rank = (1.0, -pruned_at, sign * value)
        bisect.insort(self._ranked, (rank, number))
        bisect.insort(self._ended, number)

    def choose(self, seed: int) -> dict[str, Any]:
        """Choose a point that may be the next one."""
        sampler, trial = self._sampler(seed), self._running(len(self._trials), {})
        self._storage.shown = self._shown() if self._search.sampler == "tpe" else []
        study = load_study(study_name=_STUDY, storage=self._storage, sampler=sampler)  # one that has cached no trials
        found = sampler.sample_relative(study, trial, self._varied)
        for name, each in self._distributions.items():
            if name not in self._varied:
                found[name] = self._encoded(name, self._search.ranges[name].at(0))
            elif name not in found:
                found[name] = sampler.sample_independent(study, trial, name, each)
        return {name: self._decoded(name, found[name]) for name in self._distributions}

    def _sampler(self, seed: int) -> BaseSampler:
        if self._search.sampler == "random":
            return RandomSampler(seed=seed)
        with warnings.catch_warnings():  # releases before 5.0, which has these settings by default
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(seed=seed, multivariate=True, constant_liar=True)

    def _shown(self) -> list[FrozenTrial]:
        """The trials for a sampler: of those that have ended, the best and some of the others, evenly spread."""
        numbers = self._ended
        if len(numbers) > SHOWN:
            best = [number for _, number in self._ranked[:_BEST]]
            step = len(numbers) / (SHOWN - _BEST)
            numbers = list({*best, *(numbers[int(at * step)] for at in range(SHOWN - _BEST))})
        numbers = sorted([*numbers, *list(self._open)[-SHOWN:]])
        return [self._trials[number] for number in numbers]

    def _running(self, number: int, params: Mapping[str, Any]) -> FrozenTrial:
        distributions = {name: self._distributions[name] for name in params}
        trial = create_trial(state=TrialState.RUNNING, params=dict(params), distributions=distributions)
        trial.number = number
        return trial

    # Optuna's values: of a choice, the index, because Optuna knows no lists and takes 1 and True for one.

    def _encoded(self, name: str, value: Any) -> Any:
        values = self._search.ranges[name]
        if values.kind == "choice":
            return values.position(value)
        return float(value) if isinstance(self._distributions[name], FloatDistribution) else value

    def _decoded(self, name: str, value: Any) -> Any:
        values = self._search.ranges[name]
        if values.kind == "choice":
            return values.values[value]
        return min(max(round(value), int(values.low)), int(values.high)) if values.kind == "integer" else value


class _Shown(InMemoryStorage):
    """A storage of one study, with the trials that a sampler is shown."""

    shown: list[FrozenTrial]

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,  # noqa: FBT001, FBT002 - as Optuna calls it
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """The trials, which are not copied: a sampler changes none."""
        del study_id, deepcopy
        return self.shown if states is None else [each for each in self.shown if each.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Do nothing: a sampler notes here what other processes read, and this study is in one."""


def _make_study(storage: InMemoryStorage, direction: str) -> None:
    """Make an empty study. Optuna logs each to standard error, which is of no use here."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        create_study(storage=storage, direction=StudyDirection[direction.upper()], study_name=_STUDY)
    finally:
        logging.set_verbosity(level)


def _distribution(values: Range) -> BaseDistribution:
    if values.kind == "choice":
        return CategoricalDistribution(range(len(values.values)))
    if values.kind == "integer" and values.size <= _DISCRETE:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    edge = 0.5 if values.kind == "integer" else 0.0
    return FloatDistribution(values.low - edge, values.high + edge, log=values.log)
