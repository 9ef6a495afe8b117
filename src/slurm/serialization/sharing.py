"""Sharing: an object that several calls of a map have is pickled once, and not with each call."""

from __future__ import annotations

from enum import Enum
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

LEAST_BYTES = 1 << 16
"""A smaller pickle is repeated in each call, so that calls of one element do not share objects that they may change."""
MOST_PARTS = 100_000
"""If an object has more parts than this, calls can only share the whole object."""

_DEPTH = 2
_WIDTH = 32
"""How many levels deep in arguments shared objects are looked for; and the most items of a list, a dict or the
attributes of an object among which they are looked for."""
_NUMBERS = frozenset((int, float, complex, bool, type(None)))
_SCALARS = _NUMBERS | {type, FunctionType, ModuleType}
_TEXTS = frozenset((str, bytes, bytearray))
_SIMPLE = _NUMBERS | {str, bytes}


def shared_objects(calls: Sequence[tuple[Any, ...]], *, apart: type) -> Iterable[Any]:
    """Return the possibly large objects that several calls have, by identity, without objects of the class `apart`."""
    first: dict[int, int] = {}
    shared: dict[int, Any] = {}

    def visit(value: Any, call: int, depth: int) -> None:
        kind = type(value)
        if kind in _SCALARS or (kind in _TEXTS and len(value) < LEAST_BYTES) or issubclass(kind, apart):
            return
        known = first.setdefault(id(value), call)
        if known != call:
            shared[id(value)] = value
        elif depth:
            for part in _parts(value):
                visit(part, call, depth - 1)

    for number, (args, kwargs, *_) in enumerate(calls if len(calls) > 1 else ()):
        for value in args:
            visit(value, number, _DEPTH)
        for value in kwargs.values():
            visit(value, number, _DEPTH)
    return shared.values()


def is_simple(args: Sequence[Any], kwargs: Mapping[str, Any], shared: Container[int]) -> bool:
    """Whether all arguments of a call are numbers and texts that it does not share, by identity.

    Then a plain pickle of the arguments is the same, and takes a tenth of the time.
    """
    return all(type(value) in _SIMPLE and id(value) not in shared for value in (*args, *kwargs.values()))


def _parts(value: Any) -> Iterator[Any]:
    if type(value) in (list, tuple):
        yield from value if len(value) <= _WIDTH else ()
        return
    found = value if type(value) is dict else getattr(value, "__dict__", None)
    if type(found) is dict and len(found) <= _WIDTH:
        yield from found.values()


def has_identity(value: Any) -> bool:
    """Whether a call must see a part of a shared object as the same object elsewhere in its arguments.

    False for constants and for objects that exist only once in Python: a reference would load the whole shared object.
    """
    if type(value) in (list, dict, set, bytearray) or hasattr(value, "nbytes"):
        return True
    return hasattr(value, "__dict__") and not isinstance(value, (type, FunctionType, ModuleType, Enum))
