"""Constant arguments of maps, `strict`, and options that are no arguments."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from slurm import Cluster, JobArray, JobContext, command, task
from slurm.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


LARGE = 200_000


@task
def scale(x: int, y: int = 1, *, model: dict[str, Any]) -> int:
    return int(x * y * model["factor"])


@task
def keywords(x: int, **given: Any) -> dict[str, Any]:
    return {"x": x, **given}


@task
def double(x: int) -> int:
    return 2 * x


@task
def add(x: int, y: int) -> int:
    return x + y


@pytest.mark.usefixtures("cluster")
def test_each_call_gets_the_constants_and_a_large_one_is_stored_once(root: Path) -> None:
    model = {"factor": 3, "weights": os.urandom(LARGE)}
    jobs = scale.map(range(10), range(10), model=model)
    assert jobs.results(90) == [3 * x * x for x in range(10)]
    assert (root / "jobs" / jobs.key / "calls.pkl").stat().st_size < 2 * LARGE
    assert scale.starmap([(2,), (2, 5), {"x": 3}], model=model).results(90) == [6, 30, 9]


@pytest.mark.usefixtures("cluster")
def test_a_job_is_a_constant_and_gives_its_result() -> None:
    assert add.map([1, 2], y=double(5)).results(90) == [11, 12]


@pytest.mark.usefixtures("local")
def test_a_constant_goes_to_a_command() -> None:
    done = command("echo {x} {name}").map(["a", "b"], name="c d").results(60)
    assert [(each.directory / "stdout.log").read_text() for each in done] == ["a c d\n", "b c d\n"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: add.map([1], y=2, mem="4G"), r"add has no parameter mem, .*: write add.with_options\(mem='4G'\).map"),
        (lambda: add.starmap([(1, 2)], time="5", mem=1), r"write add.with_options\(time='5', mem=1\)"),
        (lambda: add.map([1], [2], environment=None), r"with_options\(environment=None\)"),
        (lambda: add.map([1], [2], env={"A": "1"}), r"with_options\(env={'A': '1'}\)"),
        (lambda: add.map([1], [2], z=2), r"add\(x, y\): .*unexpected keyword argument 'z'"),
        (lambda: add.map([1], x=2), r"add\(x, y\): .*multiple values for argument 'x'"),
        (lambda: add.starmap([{"x": 1, "y": 2}], y=3), r"an item has a y, too"),
        (lambda: add.map(x=[1], y=2), r"needs at least one iterable; keyword arguments are the same in every call"),
    ],
)
def test_a_wrong_constant_is_an_error_and_nothing_is_submitted(
    local: Cluster, call: Callable[[], JobArray[Any]], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        call()
    assert not list(local.jobs())


@pytest.mark.usefixtures("local")
def test_a_function_that_takes_any_keyword_gets_names_of_options_too() -> None:
    assert keywords.map([1], mem="4G").results(60) == [{"x": 1, "mem": "4G"}]


@pytest.mark.parametrize("iterables", [([1, 2], [3]), ([1], [2, 3]), (iter([1, 2]), iter([3]))])
def test_strict_refuses_different_lengths_before_anything_is_submitted(local: Cluster, iterables: Any) -> None:
    with pytest.raises(ValueError, match=r"argument 2 is (shorter|longer) than argument 1"):
        add.map(*iterables, strict=True)
    assert not list(local.jobs())


@pytest.mark.usefixtures("local")
def test_strict_takes_equal_lengths_and_without_it_the_shortest_counts() -> None:
    assert add.map([1, 2], iter([3, 4]), strict=True).results(60) == [4, 6]
    assert add.map([1, 2], [3]).results(60) == [4]


@pytest.mark.usefixtures("local")
def test_a_parameter_called_strict_is_not_taken_for_that_of_map() -> None:
    @task
    def parse(text: str, strict: bool = False) -> bool:  # noqa: FBT002 - as users write it
        return strict and bool(text)

    with pytest.raises(TypeError, match=r"strict is a parameter of map and of parse"):
        parse.map(["a"], strict=True)
    assert parse.starmap([{"text": "a", "strict": True}]).results(60) == [True]


@pytest.mark.usefixtures("local")
def test_options_of_a_map_and_the_context_stay_what_they_are() -> None:
    @task
    def which(x: int, y: int, ctx: JobContext | None = None) -> tuple[int, int]:
        assert ctx is not None
        return x + y, ctx.index

    assert which.map([1, 2], y=5, chunk_size=2, max_concurrent=1).results(60) == [(6, 0), (7, 1)]
    with pytest.raises(OptionError):
        which.map([1], y=5, chunk_size=0)
    with pytest.raises(TypeError, match="ctx"):
        which.map([1], y=5, ctx=None)
