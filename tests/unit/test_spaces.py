"""Spaces of parameters: their algebra, their order, what makes two points one, and conditions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import slurm
from slurm.errors import ConfigurationError
from slurm.spaces import Space, canonical, grid, identity, paired, points
from slurm.spaces.conditions import condition
from slurm.sweeps.points import points_of

VALUES = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
NESTED = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3)
)
PARAMS = st.dictionaries(st.text(min_size=1, max_size=4), NESTED, max_size=4)


def axes(names: str) -> st.SearchStrategy[dict[str, list[int]]]:
    return st.dictionaries(st.sampled_from(names), st.lists(st.integers(0, 9), min_size=1, max_size=3), max_size=3)


SPACES = axes("abc").map(lambda found: grid(**found)) | st.lists(
    st.fixed_dictionaries({"a": st.integers(0, 3), "b": st.integers(0, 3)}), max_size=4
).map(points)


class TestAlgebra:
    def test_a_grid_has_each_combination_and_the_last_name_changes_first(self) -> None:
        assert list(grid(a=[1, 2], b=["xy", "z"])) == [
            {"a": 1, "b": "xy"}, {"a": 1, "b": "z"}, {"a": 2, "b": "xy"}, {"a": 2, "b": "z"},
        ]  # fmt: skip

    def test_paired_goes_through_all_lists_at_once(self) -> None:
        assert list(paired(data=["a", "b"], seed=[1, 2])) == [{"data": "a", "seed": 1}, {"data": "b", "seed": 2}]

    def test_two_paired_groups_multiply(self) -> None:
        found = paired(a=[1, 2], b=[3, 4]) * paired(c=[5, 6])
        assert len(found) == 4
        assert list(found)[1] == {"a": 1, "b": 3, "c": 6}

    @given(SPACES, axes("xyz").map(lambda found: grid(**found)))
    def test_a_product_has_each_with_each(self, one: Space, other: Space) -> None:
        expected = [{**first, **second} for first in one for second in other]
        product = one * other
        assert list(product) == expected
        assert [product.at(i) for i in range(product.size)] == expected
        assert len(product) == product.size == len(expected)

    @given(SPACES, SPACES)
    def test_a_sum_has_those_of_the_first_and_then_of_the_second(self, one: Space, other: Space) -> None:
        both = one + other
        assert list(both) == [*one, *other]
        assert [both.at(i) for i in range(both.size)] == list(both)

    @given(SPACES, st.integers(0, 6), st.integers())
    def test_a_sample_is_some_of_the_points_in_their_order(self, space: Space, n: int, seed: int) -> None:
        found = list(space.sample(n, seed=seed))
        assert found == list(space.sample(n, seed=seed))
        assert len(found) == min(n, len(space))
        left = iter(list(space))
        assert all(any(point == each for each in left) for point in found)

    def test_where_leaves_points_out_and_can_be_multiplied_and_sampled(self) -> None:
        space = grid(a=range(10)).where("a % 2 == 0") * grid(b=[0, 1])
        assert len(space) == 10
        assert not space.exact
        assert all(point["a"] % 2 == 0 for point in space.sample(4, seed=1))
        assert list(grid(a=[1, 2, 3]).where(lambda point: point["a"] > 1)) == [{"a": 2}, {"a": 3}]

    def test_a_sample_of_a_huge_space_enumerates_nothing(self) -> None:
        space = grid(a=range(10_000), b=range(10_000), c=range(1000))
        assert space.size == 10**11
        assert len(list(space.sample(3, seed=0))) == 3
        beyond = grid(**{f"x{i}": range(10) for i in range(30)})  # no len() is that large
        assert beyond.size == 10**30
        assert len(points_of(beyond.sample(100, seed=0), most=100)) == 100
        assert list(beyond.sample(5, seed=1)) == list(beyond.sample(5, seed=1))

    def test_spaces_are_public_and_a_task_takes_a_grid(self) -> None:
        @slurm.task
        def add(a: int, b: int) -> int:
            return a + b

        with slurm.Cluster("inline"):
            assert add.grid(a=[1, 2], b=[10, 20]).results() == [11, 21, 12, 22]
        assert list(slurm.grid(a=[1]) + slurm.paired(a=[2])) == [{"a": 1}, {"a": 2}]

    def test_dotted_names_of_a_space_are_mappings_for_a_task_and_words_for_a_command(self) -> None:
        @slurm.task
        def train(lr: float, model: dict[str, int], seed: int = 0) -> tuple[float, dict[str, int], int]:
            return lr, model, seed

        space = slurm.grid(lr=[0.5]) * slurm.grid(**{"model.depth": [2, 3], "model.width": [8]})
        points = [(0.5, {"depth": depth, "width": 8}, 7) for depth in (2, 3)]
        with slurm.Cluster("inline"):
            assert train.starmap(space, seed=7).results() == points
            assert train.grid(lr=[0.5], seed=[7], **{"model.depth": [2, 3], "model.width": [8]}).results() == points
            done = slurm.command("echo {overrides}").starmap(space)
            words = [f"lr=0.5 model.depth={depth} model.width=8" for depth in (2, 3)]
            assert [job.logs().splitlines()[-1] for job in done if job.result()] == words
        with slurm.Cluster("inline"), pytest.raises(ConfigurationError, match=r"model\.depth is within model"):
            train.starmap(slurm.grid(lr=[0.5], model=[1]) * slurm.grid(**{"model.depth": [2]}))


class TestBadInput:
    def test_uneven_lists_are_told(self) -> None:
        with pytest.raises(ConfigurationError, match="a has 2, b has 3"):
            paired(a=[1, 2], b=[1, 2, 3])

    @pytest.mark.parametrize("values", ["ab", 3, {"x": 1}, None])
    def test_what_is_no_list_of_values_is_told(self, values: Any) -> None:
        with pytest.raises(ConfigurationError, match="write a list of its values"):
            grid(a=values)

    def test_a_name_of_both_factors_is_told(self) -> None:
        with pytest.raises(ConfigurationError, match="lr is a parameter of both"):
            grid(lr=[1]) * grid(depth=[2], lr=[3])

    @pytest.mark.parametrize(
        ("one", "other"), [(1, 1.0), (0.1, np.float64(0.1)), ((1, 2), [1, 2]), (0.0, -0.0), (np.int32(3), 3)]
    )
    def test_the_same_point_twice_names_both(self, one: Any, other: Any) -> None:
        with pytest.raises(ConfigurationError, match="the same point twice"):
            points_of(grid(x=[one, other]), most=10)

    def test_a_large_space_is_told_before_it_is_enumerated(self) -> None:
        with pytest.raises(ConfigurationError, match="the space has 100000000 points, more than 1000"):
            points_of(grid(a=range(10_000), b=range(10_000)), most=1000)
        with pytest.raises(ConfigurationError, match="at least 1001 points"):
            points_of(grid(a=range(10_000), b=range(10_000)).where("a >= 0"), most=1000)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"x", {1}, os, np.zeros(2)])
    def test_a_value_without_identity_is_named(self, value: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"model\.lr\[1\]="):
            canonical({"model": {"lr": [1, value]}})

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: points([3]), "item 0 is 3, not a mapping"),  # type: ignore[list-item]
            (lambda: points({"lr": 1}), "pass a list of mappings"),  # type: ignore[dict-item]
            (lambda: grid(a=[1]).where(3), "pass a text such as"),  # type: ignore[arg-type]
            (lambda: grid(a=[1]).sample(-1, seed=1), "n is not negative"),
            (lambda: grid(a=[1]).sample(1, seed="x"), "both are integers"),  # type: ignore[arg-type]
        ],
    )
    def test_wrong_arguments_are_told(self, make: Callable[[], Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            make()


class TestIdentity:
    @given(PARAMS)
    def test_canonical_values_are_stable(self, params: dict[str, Any]) -> None:
        once = canonical(params)
        assert canonical(once) == once
        assert identity(once) == identity(params) == identity(dict(reversed(params.items())))

    @given(PARAMS, PARAMS)
    def test_equal_identities_are_equal_values(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        if identity(one) == identity(other):
            assert canonical(one) == canonical(other)

    @pytest.mark.parametrize(("one", "other"), [(True, 1), (False, 0), ("1", 1), (None, 0), ([], {}), (0.1, 0.2)])
    def test_these_are_two(self, one: Any, other: Any) -> None:
        assert identity({"x": one}) != identity({"x": other})

    def test_numpy_scalars_count_by_value_and_are_python_numbers(self) -> None:
        found = canonical({"a": np.float64(0.5), "b": np.int64(3), "c": np.bool_(True)})
        assert found == {"a": 0.5, "b": 3, "c": True}
        assert [type(value) for value in found.values()] == [float, int, bool]

    def test_other_processes_with_other_seeds_and_locales_agree(self) -> None:
        program = r"from slurm.spaces import identity; print(identity({'b': 0.1, 'a': ['\xfc', {'y': 1, 'x': None}]}))"
        found = {
            subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": name, "PYTHONUTF8": "0"},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for seed, name in (("1", "C"), ("2", "C.UTF-8"))
        }
        assert found == {identity({"a": ["ü", {"x": None, "y": 1}], "b": 0.1}) + "\n"}


class TestConditions:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("lr < 0.1", True),
            ("0.001 < lr <= 0.01 and depth in [2, 4]", True),
            ("not (data == 'a') or depth > 3", True),
            ("depth * 2 - 1 == 7 and depth % 2 == 0 and -depth < 0", True),
            ("model.size is null or max(depth, 3) == 3", False),
            ("abs(lr - 0.01) < 1e-9 and len(data) == 1 and flag == true", True),
            ("depth not in (4, 5)", False),
        ],
    )
    def test_a_condition_is_said_of_parameters(self, text: str, expected: bool) -> None:
        params = {"lr": 0.01, "depth": 4, "data": "a", "flag": True, "model.size": 7}
        assert condition(text, params)(params) is expected

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("lr <", "is not a condition"),
            ("lrr < 1", "names lrr, which is no parameter: did you mean 'lr'"),
            ("__import__('os').system('true')", 'has "__import__'),
            ("lr.__class__ == 1", "which is no parameter"),
            ("[x for x in lr]", "a condition compares parameters"),
            ("lr ** 9 ** 9", "without powers"),
            ("(lambda: 1)()", "a condition compares parameters"),
            ("open('x')", "a condition compares parameters"),
            ("", "is not a condition"),
            ("lr\0", "is not a condition"),
            ("not " * 5000 + "lr", "nests too deeply"),
            ("lr" + ".b" * 5000, "is not a condition|which is no parameter"),
        ],
    )
    def test_anything_else_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            condition(text, ["lr", "depth"])

    def test_values_that_do_not_fit_are_told_with_the_point(self) -> None:
        with pytest.raises(ConfigurationError, match=r"cannot be said of \{'lr': 'x'\}"):
            condition("lr < 1", ["lr"])({"lr": "x"})

    @pytest.mark.parametrize(
        "text", ["'a' * 10000000000000 == lr", "'%9999999999d' % 1 == lr", "[lr] * 10000000000000"]
    )
    def test_only_numbers_are_multiplied(self, text: str) -> None:
        with pytest.raises(ConfigurationError, match="is not a number"):
            condition(text, ["lr"])({"lr": 1})
