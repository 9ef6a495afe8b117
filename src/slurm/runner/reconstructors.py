"""Reconstructors: functions that rebuild objects from pickles made by `slurm.runner.reducers`.

Pickles contain the names of these functions, and a later version of the package may read old results. So the names
must not change.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:  # noqa: FBT001 - as lru_cache has it
    """Return a function with an empty cache, as `functools.lru_cache` does."""
    return functools.lru_cache(maxsize, typed)(function)


def register_all(function: Any, state: tuple[Mapping[type, Any], Mapping[str, Any]]) -> None:
    """Register the implementations of a `functools.singledispatch` function, and set its further attributes."""
    implementations, attributes = state
    for kind, implementation in implementations.items():
        function.register(kind, implementation)
    vars(function).update(attributes)


def validated(function: Callable[..., Any], config: Mapping[str, Any] | None, validate_return: bool) -> Any:  # noqa: FBT001
    """Return a function that `pydantic.validate_call` validates, from its first call on.

    The validators are built at the first call, because annotations may name objects that are loaded after the function.
    """
    __import__("pydantic")
    decorate = sys.modules["pydantic"].validate_call
    return decorate(config={**(config or {}), "defer_build": True}, validate_return=validate_return)(function)


def context_variable(name: str, *default: Any) -> Any:
    """Return a new context variable that has only the default value, if any."""
    from contextvars import ContextVar  # noqa: PLC0415 - most pickles have none

    return ContextVar(name, default=default[0]) if default else ContextVar(name)


def primitive(module: str, name: str, *arguments: Any) -> Any:
    """Return a new object for synchronization: `threading.Lock()`, `multiprocessing.Lock()`."""
    __import__(module)
    return getattr(sys.modules[module], name)(*arguments)


def set_event() -> Any:
    """Return a `threading.Event` that is set."""
    event = primitive("threading", "Event")
    event.set()
    return event


def typing_name(kind: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any], module: str) -> Any:
    """Return a `NewType`, `ParamSpec`, `TypeVarTuple` or `TypeAliasType` of the script."""
    import typing  # noqa: PLC0415 - as above

    made = getattr(typing, kind)(*arguments, **keywords)
    if kind != "TypeAliasType":  # the module of a TypeAliasType cannot be set
        made.__module__ = module
    return made


def concatenated(*lists: list[Any]) -> list[Any]:
    """Return the results of an array whose calls are in several submissions."""
    return [result for some in lists for result in some]


def exception(kind: type[BaseException], arguments: tuple[Any, ...]) -> BaseException:
    """Return an exception with these `args`, without a call of the `__init__` of its class.

    The `__init__` of the builtin base class is called, because it sets attributes such as `errno`.
    """
    base: Any = kind
    while base.__module__ != "builtins":
        base = base.__base__
    made: BaseException = base.__new__(kind, *arguments)
    base.__init__(made, *arguments)
    return made
