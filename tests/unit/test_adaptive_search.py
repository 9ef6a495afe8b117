"""Adaptive searches: what the sampler is told, what a later process derives from the files, and what is refused."""

from __future__ import annotations

import json
import os
import warnings
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna import create_study
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from slurm import Cluster, task
from slurm.errors import ConfigurationError
from slurm.spaces.ranges import choice, integer, range_of, uniform
from slurm.sweeps import State, Sweep, grid
from slurm.sweeps.adaptive.sampling import Sampling
from slurm.sweeps.adaptive.settings import Search
from slurm.sweeps.adaptive.trials import Ending, Trials
from slurm.testing import InlineCluster
from waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from slurm.sweeps.adaptive.settings import SearchOptions

RANGES = {"lr": uniform(1e-5, 0.1, log=True), "depth": integer(1, 10), "kind": choice(["a", "b", [1, 2]])}
TPE: SearchOptions = {"sampler": "tpe", "metric": "loss"}


@task
def bowl(x: float, depth: int = 3) -> dict[str, float]:
    return {"loss": (x - 0.3) ** 2 + depth, "other": 1.0}


@task
def fails_above(x: float) -> dict[str, float]:
    if x > 0.5:
        raise ValueError("too large")
    return {"loss": x}


ENDINGS = st.one_of(
    st.builds(Ending, st.floats(-1e6, 1e6)),
    st.just(Ending(None)),
    st.builds(Ending, st.floats(-1e6, 1e6), st.integers(1, 9)),
)


@settings(max_examples=15, deadline=None)
@given(data=st.data(), sampler=st.sampled_from(["tpe", "random"]), seed=st.integers(0, 9))
def test_a_new_process_chooses_what_the_old_one_would_have_chosen(data: st.DataObject, sampler: str, seed: int) -> None:
    search = Search(RANGES, "loss", sampler, "maximize", seed=seed)
    old, points = Trials(search), list[dict[str, Any]]()
    endings = dict[int, Ending]()
    for _ in range(data.draw(st.integers(1, 4))):
        for _ in range(data.draw(st.integers(1, 6))):
            params = old.ask()
            assert params is not None
            points.append(params)
        open_ = [number for number in range(len(points)) if number not in endings]
        for number in data.draw(st.lists(st.sampled_from(open_), unique=True)) if open_ else ():
            endings[number] = data.draw(ENDINGS)
            old.tell(number, endings[number])
    new = Trials(search)
    for params in json.loads(json.dumps(points)):  # as the files have them
        new.add(params)
    for number in data.draw(st.permutations(list(endings))):
        new.tell(number, endings[number])
    assert [new.ask() for _ in range(3)] == [old.ask() for _ in range(3)]


@settings(max_examples=20, deadline=None)
@given(data=st.data(), direction=st.sampled_from(["minimize", "maximize"]), seed=st.integers(0, 9))
def test_the_sampler_chooses_what_a_study_of_optuna_would(data: st.DataObject, direction: str, seed: int) -> None:
    ranges = {"b": uniform(1e-5, 0.1, log=True), "a": integer(1, 10), "c": choice(["x", "y"]), "one": integer(3, 3)}
    spaces = {
        "b": FloatDistribution(1e-5, 0.1, log=True),
        "a": IntDistribution(1, 10),
        "c": CategoricalDistribution([0, 1]),
        "one": IntDistribution(3, 3),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = TPESampler(seed=seed, multivariate=True, constant_liar=True)
    study = create_study(direction=StudyDirection[direction.upper()], sampler=sampler)
    sampling = Sampling(Search(ranges, "loss", "tpe", direction))
    for number in range(data.draw(st.integers(0, 30))):
        point = {"b": 0.1 / (number + 1), "a": number % 10 + 1, "c": number % 2, "one": 3}
        value, step = data.draw(ENDINGS | st.none()) or (None, 0)
        sampling.add(point | {"c": "xy"[number % 2]})
        made = create_trial(state=TrialState.RUNNING, params=point, distributions=spaces)
        if step != 0:
            sampling.tell(number, value, step)
            made.state = TrialState.FAIL if value is None else TrialState.PRUNED if step else TrialState.COMPLETE
            made.intermediate_values = {step: value} if step and value is not None else {}
            made.value, made.datetime_complete = value, datetime.now(tz=timezone.utc)
        study.add_trial(made)
    chosen = study.ask(spaces).params
    assert sampling.choose(seed) == chosen | {"c": "xy"[chosen["c"]]}


def test_a_sampler_is_shown_the_best_trials_of_many_and_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slurm.sweeps.adaptive.sampling.SHOWN", 60)
    trials = Trials(Search({"x": uniform(0, 1), "n": integer(0, 1_000_000)}, "loss"))
    for number in range(200):
        trials.add({"x": abs(0.3 - number / 200), "n": number})
        if number < 190:
            trials.tell(number, Ending(abs(0.3 - number / 200)))
    points = [trials.ask() or {} for _ in range(20)]
    assert sum(point["x"] < 0.15 for point in points) > 10
    assert all(isinstance(point["n"], int) and 0 <= point["n"] <= 1_000_000 for point in points)


def test_each_point_of_a_finite_space_is_chosen_once() -> None:
    trials = Trials(Search({"a": choice(["x", "y"]), "b": integer(1, 3)}, "loss"))
    found = list[tuple[str, int]]()
    while (params := trials.ask()) is not None:
        trials.tell(len(found), Ending(float(params["b"])))
        found.append((params["a"], params["b"]))
    assert sorted(found) == [(a, b) for a in "xy" for b in (1, 2, 3)]


def test_tpe_comes_closer_than_random_numbers() -> None:
    def least(sampler: str) -> float:
        trials = Trials(Search({"x": uniform(-50, 50), "y": uniform(-50, 50)}, "loss", sampler))
        values = list[float]()
        for number in range(60):
            params = trials.ask() or {}
            values.append((params["x"] - 7) ** 2 + (params["y"] + 3) ** 2)
            trials.tell(number, Ending(values[-1]))
        return min(values)

    assert least("tpe") < least("random")


def test_a_search_runs_to_its_number_of_trials(inline: InlineCluster, tmp_path: Path) -> None:
    sweep = Sweep(bowl, {"x": uniform(0, 1)}, name="bowl", directory=tmp_path, **TPE)
    sweep.run(on=(inline, 4), trials=20)
    assert sweep.drive().counts == {State.DONE: 20}
    best = sweep.table().best("loss")
    assert best["loss"] == min(point.metrics["loss"] for point in sweep.points)
    assert [point.attempts for point in sweep.snapshot().points] == [1] * 20
    opened = Sweep.open("bowl", directory=tmp_path)
    assert opened.complete(on=(inline, 4), trials=24).drive().counts == {State.DONE: 24}


def test_another_process_goes_on_with_the_same_points(inline: InlineCluster, tmp_path: Path) -> None:
    found = []
    for name, parts in (("at-once", [16]), ("in-parts", [5, 11, 16])):
        for trials in parts:
            sweep = Sweep(bowl, {"x": uniform(0, 1)}, name=name, directory=tmp_path, **TPE)
            sweep.run(on=(inline, 1), trials=trials).drive()
        found.append([point.params["x"] for point in sweep.points])
    assert found[0] == found[1]


def test_asked_points_are_run_and_told(inline: InlineCluster, tmp_path: Path) -> None:
    sweep = Sweep(bowl, {"x": uniform(0, 1), "depth": [2, 3]}, name="by-hand", directory=tmp_path, **TPE)
    asked = sweep.ask(3)
    assert [point.number for point in asked] == [0, 1, 2]
    assert sweep.run(on=inline).drive().counts == {State.DONE: 3}
    assert sweep.tell() == 0  # the driver has told it
    opened = Sweep.open("by-hand", bowl, directory=tmp_path)
    assert opened.tell(*opened.points[:2]) == 2
    assert opened.tell() == 1


def test_two_processes_that_ask_at_once_choose_different_points(tmp_path: Path) -> None:
    one = Sweep(bowl, {"x": uniform(0, 1)}, name="two", directory=tmp_path, **TPE)
    one.ask(2)
    other = Sweep.open("two", bowl, directory=tmp_path)
    one.ask(3)
    other.ask(3)
    one.ask(1)
    xs = [point.params["x"] for point in Sweep.open("two", bowl, directory=tmp_path).points]
    assert len(xs) == len(set(xs)) == 9


def test_failed_points_are_told_as_failures(inline: InlineCluster, tmp_path: Path) -> None:
    sweep = Sweep(fails_above, {"x": uniform(0, 1)}, name="failures", directory=tmp_path, **TPE)
    counts = sweep.run(on=(inline, 2), trials=15).drive().counts
    assert counts[State.FAILED] > 0
    assert counts[State.DONE] + counts[State.FAILED] == 15
    assert sweep.tell() == 0
    assert sweep.table().best("loss")["x"] <= 0.5


def test_a_grid_is_a_space_of_choices(tmp_path: Path, inline: InlineCluster) -> None:
    sweep = Sweep(bowl, grid(x=[0.1, 0.2]) * grid(depth=[1, 2]), name="grid", directory=tmp_path, **TPE)
    assert sweep.run(on=inline, trials=9).drive().counts == {State.DONE: 4}  # the space has no others
    assert sweep.table().best("loss")["depth"] == 1


def test_a_metric_that_no_point_has_is_an_error_that_names_those_that_it_has(
    inline: InlineCluster, tmp_path: Path
) -> None:
    sweep = Sweep(bowl, {"x": uniform(0, 1)}, name="no", directory=tmp_path, sampler="random", metric="los", trials=2)
    with pytest.raises(ConfigurationError, match=r"point 0 has no metric 'los'.*it has loss, other"):
        sweep.run(on=inline).drive()


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ({"x": uniform(0, 1)}, {}, "a mapping of ranges goes with a sampler"),
        ({"x": range(3)}, {}, r"write a grid: Sweep\(…, grid\(x="),
        ({"x": uniform(0, 1)}, {"sampler": "tpe"}, 'metric="loss"'),
        ({"x": uniform(0, 1)}, {**TPE, "sampler": "pte"}, "did you mean 'tpe'"),
        ({"x": uniform(0, 1)}, {**TPE, "direction": "down"}, "'minimize', 'maximize'"),
        ({"x": uniform(0, 1)}, {**TPE, "trials": 0}, "trials=0"),
        ({"x": 3}, TPE, "x: choice"),
        (grid(x=[1, 2]).where("x > 1"), TPE, "a sampler chooses from ranges"),
        ([{"x": 1}], TPE, "a sampler chooses from ranges"),
        ({"y": uniform(0, 1)}, TPE, "y"),
    ],
)
def test_arguments_that_make_no_search_are_refused(space: Any, options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Sweep(bowl, space, name="no", directory=tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_the_same_name_with_another_space_is_an_error(tmp_path: Path) -> None:
    Sweep(bowl, {"x": uniform(0, 1)}, name="space", directory=tmp_path, **TPE).ask()
    with pytest.raises(ConfigurationError, match="searches another space: x"):
        Sweep(bowl, {"x": uniform(0, 2)}, name="space", directory=tmp_path, **TPE)
    with pytest.raises(ConfigurationError, match="has a sampler"):
        Sweep(bowl, [{"x": 1}], name="space", directory=tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: uniform(1, 0), "the lower limit comes first"),
        (lambda: uniform(0, 1, log=True), "above 0"),
        (lambda: uniform(0, float("nan")), "finite"),
        (lambda: integer(1.5, 2), "whole numbers"),  # type: ignore[arg-type]
        (lambda: choice([]), "at least one"),
        (lambda: choice([1, 1.0]), "each once"),
        (lambda: choice("abc"), "a list"),
        (lambda: range_of({"unifrom": [0, 1]}), "did you mean 'uniform'"),
        (lambda: range_of({"uniform": [0, 1, 2]}), "uniform: .LOW, HIGH."),
    ],
)
def test_ranges_that_have_no_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


@pytest.mark.parametrize("values", [*RANGES.values(), integer(1, 64, log=True), choice([True, 1, None])])
def test_ranges_are_the_same_from_a_file(values: Any) -> None:
    assert range_of(json.loads(json.dumps(values.to_json()))) == values


def test_points_are_added_by_hand_if_they_are_in_the_space(inline: InlineCluster, tmp_path: Path) -> None:
    sweep = Sweep(bowl, {"x": uniform(0, 1)}, name="given", directory=tmp_path, **TPE)
    with pytest.raises(ConfigurationError, match="is not in the space of the search"):
        sweep.extend([{"x": 2.0}])
    sweep.extend([{"x": 0.3}]).run(on=(inline, 2), trials=4)
    assert sweep.drive().counts == {State.DONE: 4}
    assert sweep.table().best("loss")["x"] == 0.3


@task
def waits(x: float, go: str) -> dict[str, float]:
    until(lambda: os.path.exists(go))
    return {"loss": x}


def test_after_a_cancel_nothing_is_asked_for_until_it_is_completed(local: Cluster, tmp_path: Path) -> None:
    ranges = {"x": uniform(0, 1), "go": [str(tmp_path / "go")]}
    sweep = Sweep(waits, ranges, name="left", directory=tmp_path, **TPE).run(on=(local, 2), trials=5)
    assert sweep.cancel() == 2
    (tmp_path / "go").touch()
    assert sweep.drive().counts == {State.MISSING: 2}
    assert sweep.complete(on=(local, 2)).drive().counts == {State.DONE: 5}
