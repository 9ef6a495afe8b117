"""Explanations: which part of a call cannot be pickled, and what to do about it."""

from __future__ import annotations

import inspect
import io
import types
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.runner.reducers import is_of_one_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Pickles = Callable[[Any], bool]


def explain(error: Exception, parts: Mapping[str, Any], pickles: Pickles) -> str:
    """Return the message of a NotPicklable error. `parts` are the parts of the call by name, to find the cause.

    `pickles` returns whether a value can be pickled.
    """
    if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):
        name = next((name for name, part in parts.items() if not pickles(part)), next(iter(parts), "a call"))
        return (
            f"{name} is nested too deeply to be pickled. Send it in a flat form, such as a list of its nodes with the "
            "numbers of their neighbours, or save it to a file and send the path"
        )
    found = (_find_culprit(part, name, pickles) for name, part in parts.items())
    culprit = next((culprit for culprit in found if culprit), _Culprit(next(iter(parts), "a call"), None))
    message = f"{culprit.words} cannot be pickled: {type(error).__name__}: {error}"
    advice = _advice(culprit.value)
    return f"{message}. {advice}" if advice else message


def _is_future(value: Any) -> bool:
    """Whether a value is a future of another library: of `concurrent.futures`, asyncio, or a similar awaitable."""
    return isinstance(value, Future) or hasattr(type(value), "_asyncio_future_blocking")


def _advice(value: Any) -> str:
    if _is_future(value):
        return "Pass its result() in its place"
    if is_of_one_process(type(value)):
        return (
            "Processes cannot share it. Create it in the task, or as a global variable of your script: then each "
            "process has its own"
        )
    if isinstance(value, (types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType)):
        return "It belongs to this process. Send a list of its values"
    if isinstance(value, io.IOBase):
        return "Send the path, and open the file in the task"
    return ""


class _Culprit(NamedTuple):
    """The part that cannot be pickled: its description, and the part itself."""

    words: str
    value: Any


def _find_culprit(value: Any, path: str, pickles: Pickles, seen: frozenset[int] = frozenset()) -> _Culprit | None:
    """Return the innermost part that cannot be pickled: `argument model of fit['net'].lock`."""
    if id(value) in seen or pickles(value):
        return None
    for step, part in () if _is_future(value) else _parts(value):
        deeper = _find_culprit(part, path + step, pickles, seen | {id(value)})
        if deeper:
            return deeper
    return _Culprit(f"{path} ({type(value).__module__}.{type(value).__qualname__})", value)


def _free_variables(function: types.FunctionType) -> dict[str, Any]:
    """The global and nonlocal variables that a function uses."""
    try:
        found = inspect.getclosurevars(function)
    except ValueError:  # a variable of the enclosing function has no value yet
        return {}
    own = {name: value for name, value in found.globals.items() if not is_of_one_process(type(value))}
    return {**own, **found.nonlocals}


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{number}]", item) for number, item in enumerate(value))
    elif isinstance(value, types.FunctionType):
        yield from ((f", its variable {name}", item) for name, item in _free_variables(value).items())
    elif not isinstance(value, (type, types.ModuleType)):
        yield from ((f".{name}", item) for name, item in getattr(value, "__dict__", {}).items())
