"""Sampling: choose the next point with a sampler of Optuna, from the trials of a search.

This module imports Optuna, so it is imported only when a sampler is first needed. The sampler is called directly, in
the way in which a study of Optuna calls it, because a study copies and stores each trial. TPE looks at all trials that
it is shown, so their number is limited.
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
"""The most ended trials that a sampler is shown, and the most trials that have not ended.

With 250, a sampler chooses twice as fast, but its searches are worse: see docs/benchmarks.md.
"""

_BEST = 25
"""How many of more than 250 trials TPE counts as good."""

_DISCRETE = 100
"""An integer range with more values is given to the sampler as a range of real numbers, and its choice is rounded.

TPE is slow with many integers. No kernel of TPE is narrower than a hundredth of the range, so TPE does not see the
steps.
"""


class Sampling:
    """A sampler, and the trials that may be shown to it, numbered from 0."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._distributions = {name: _distribution(each) for name, each in search.ranges.items()}
        self._varied = {name: each for name, each in sorted(self._distributions.items()) if not each.single()}
        self._storage = _Shown()
        _make_study(self._storage, search.direction)
        self._trials: list[FrozenTrial] = []
        self._open: dict[int, None] = {}
        self._ended: list[int] = []  # in order; without failures, from which a sampler learns nothing
        self._ranked: list[tuple[tuple[float, ...], int]] = []  # the same trials, the best first

    def add(self, params: Mapping[str, Any]) -> None:
        """Add the next trial."""
        number = len(self._trials)
        self._trials.append(self._running(number, {name: self._encoded(name, params[name]) for name in params}))
        self._open[number] = None

    def tell(self, number: int, value: float | None, pruned_at: int | None) -> None:
        """Record how a trial has ended: its value, None for a failure; and the step at which it was stopped, if it was.

        Call this once for each trial.
        """
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
        """Choose a candidate for the next point. The sweep may have this point already."""
        sampler, trial = self._sampler(seed), self._running(len(self._trials), {})
        self._storage.shown = self._shown() if self._search.sampler == "tpe" else []
        study = load_study(study_name=_STUDY, storage=self._storage, sampler=sampler)  # new: it has cached no trials
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
        with warnings.catch_warnings():  # releases before 5.0, where these settings are the defaults, warn
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(seed=seed, multivariate=True, constant_liar=True)

    def _shown(self) -> list[FrozenTrial]:
        """Return the trials to show: the best of the ended trials, an even selection of the other ended ones, and the
        latest of those that have not ended.
        """
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

    # For Optuna, a choice is the index of its value: Optuna accepts no lists, and treats 1 and True as the same value.

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
        """Return the trials, without a copy: a sampler does not change them."""
        del study_id, deepcopy
        return self.shown if states is None else [each for each in self.shown if each.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Do nothing: a sampler stores attributes for other processes, and only this process uses the study."""


def _make_study(storage: InMemoryStorage, direction: str) -> None:
    """Make an empty study, without the message that Optuna logs to standard error for each one."""
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
