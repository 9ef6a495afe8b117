"""The median rule, beside Optuna's."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm.sweeps.adaptive.pruning import Reports, is_worse

if TYPE_CHECKING:
    from collections.abc import Sequence


def reports(values: Sequence[float], *, largest: bool = False, attempt: int = 1) -> Reports:
    """What a point knows that has reported a value at each step from 1 on."""
    found = Reports()
    for step, value in enumerate(values, 1):
        found = found.add(attempt, step, value, largest=largest)
    return found


def optuna_prunes(own: Sequence[float], others: Sequence[Sequence[float]], direction: str) -> bool:
    """Whether Optuna's MedianPruner stops a trial with these intermediate values."""
    study = optuna.create_study(direction=direction, pruner=optuna.pruners.MedianPruner())  # type: ignore[arg-type,unused-ignore]
    for values in others:
        study.add_trial(optuna.trial.create_trial(value=values[-1], intermediate_values=dict(enumerate(values, 1))))
    trial = study.ask()
    for step, value in enumerate(own, 1):
        trial.report(value, step)
    return trial.should_prune()


# Values that fall, or rise, at each step: a report then is the best one so far, at which the two rules look.
STEPS = st.lists(st.integers(1, 20), min_size=4, max_size=4).map(lambda some: list(itertools.accumulate(some)))


@settings(max_examples=60, deadline=None)
@given(
    own=STEPS.flatmap(lambda some: st.integers(1, 4).map(lambda count: some[:count])),
    others=st.lists(STEPS, max_size=8),
    largest=st.booleans(),
)
def test_a_point_is_worse_when_optuna_would_prune_it(own: list[int], others: list[list[int]], *, largest: bool) -> None:
    sign = 1 if largest else -1
    mine, theirs = [sign * each for each in own], [[sign * each for each in values] for values in others]
    worse = is_worse(
        reports(mine, largest=largest), [reports(each, largest=largest) for each in theirs], largest=largest
    )
    assert worse == optuna_prunes(mine, theirs, "maximize" if largest else "minimize")


def test_points_that_got_less_far_do_not_count() -> None:
    good = [reports([3, 2, 1])] * 4
    assert not is_worse(reports([9, 9]), [*good, reports([1])], largest=False)
    assert is_worse(reports([9, 9]), [*good, reports([3, 2, 1])], largest=False)
    assert not is_worse(Reports(), good * 2, largest=False)


def test_steps_between_two_reports_have_the_value_of_the_earlier_one() -> None:
    known = Reports().add(1, 2, 0.5, largest=False).add(1, 10, 0.1, largest=False)
    assert [known.at(step) for step in (1, 2, 5, 10, 11)] == [None, 0.5, 0.5, 0.1, None]


def test_a_later_attempt_begins_anew() -> None:
    known = reports([0.1, 0.1]).add(2, 1, 0.9, largest=False)
    assert (known.steps, known.best) == ((1,), (0.9,))
