"""The parameter for the context may be at any position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from slurm import JobContext, Task
from slurm.runner.argument_loader import Call

if TYPE_CHECKING:
    from collections.abc import Callable


def first(ctx: JobContext, x: int, y: int = 2) -> list[Any]:
    return [ctx, x, y]


def between(x: int, ctx: JobContext, y: int = 2) -> list[Any]:
    return [ctx, x, y]


def last(x: int, y: int = 2, ctx: JobContext | None = None) -> list[Any]:
    return [ctx, x, y]


def by_place_only(ctx: JobContext, x: int, y: int = 2, /) -> list[Any]:
    return [ctx, x, y]


def by_name_only(x: int, y: int = 2, *, ctx: JobContext) -> list[Any]:
    return [ctx, x, y]


def any_number(ctx: JobContext, x: int, *rest: int) -> list[Any]:
    return [ctx, x, *rest]


@pytest.mark.parametrize("function", [first, between, last, by_place_only, by_name_only, any_number])
@pytest.mark.parametrize(("args", "kwargs"), [((1, 2), {}), ((1,), {"y": 2}), ((), {"y": 2, "x": 1})])
def test_the_context_is_passed_at_the_position_of_its_parameter(
    function: Callable[..., Any], args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    if kwargs and function in {by_place_only, any_number}:
        args, kwargs = (1, 2), {}
    task = Task(function)
    bound = task._bound(args, kwargs)
    call = Call(function=function, args=bound[0], kwargs=bound[1], context=task.context_parameter)
    assert call.make("the context") == ["the context", 1, 2]


def test_the_context_is_not_an_argument_of_the_call() -> None:
    task: Task[..., Any] = Task(first)
    with pytest.raises(TypeError, match=r"first\(x, y\): too many positional arguments"):
        task(1, 2, 3)
