"""Operators: a job or an array is not its result, so operators raise an error that says how to get the result.

Type checkers do not see these methods, so they report the same mistakes.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, ClassVar, Literal, NoReturn

from slurm.tracebacks import KnownAttributes, about_the_caller, ends_at_the_caller

if TYPE_CHECKING:
    from collections.abc import Callable

_BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split()  # noqa: SIM905
_OTHERS = "lt le gt ge neg pos invert abs round float int complex index".split()  # noqa: SIM905


def _refusal(method: str) -> Callable[..., NoReturn]:
    @ends_at_the_caller
    def refuse(self: NoOperators, argument: object = None, *_: object) -> NoReturn:
        from slurm import usage  # noqa: PLC0415 - only for an error

        raise usage.no_operator(method, argument, of_array=self.is_array)

    refuse.__name__ = method
    return refuse


class NoOperators(KnownAttributes):
    """Base class of objects that stand for results: arithmetic, comparison and unknown attributes raise with advice."""

    __slots__ = ()

    is_array: ClassVar[bool]
    """Whether it is an array of jobs, also of one or none."""

    def _no_attribute(self, name: str) -> AttributeError:
        from slurm import usage  # noqa: PLC0415 - only for an error

        return usage.no_attribute_of_handle(self, name, of_array=self.is_array)

    if not TYPE_CHECKING:
        for _name in (*_BINARY, *(f"r{name}" for name in _BINARY), *_OTHERS):
            vars()[f"__{_name}__"] = _refusal(f"__{_name}__")
        del _name


class OneResult(NoOperators):
    """Base class of objects that stand for one result. They are true, as futures are, and cannot be iterated."""

    __slots__ = ()

    is_array: ClassVar[Literal[False]] = False

    if not TYPE_CHECKING:
        __iter__ = None  # it has items, so Python would read [0], [1] and so on without end

        @ends_at_the_caller
        def __format__(self, form: str) -> str:
            return _refusal("__format__")(self, form) if form else str(self)


def position(at: int, length: int, name: str) -> int:
    """Return the index of a job in an array called `name`. Raises IndexError, and TypeError if it is not a number."""
    try:
        number = operator.index(at)
    except TypeError:
        message = f"an array has jobs by number, not by {at!r}. For a part of a result, write array[0].result()[{at!r}]"
        raise about_the_caller(TypeError(message)) from None
    if not -length <= number < length:
        raise about_the_caller(IndexError(f"{name} has {length} jobs, so there is no [{number}]"))
    return number
