"""Tracebacks: the traceback of an error about the caller's line ends at this line, without frames of this library.

A node imports this module with the user's modules, so this module imports nothing but `functools`.
"""

from __future__ import annotations

import functools
import sys

TYPE_CHECKING = False  # as `typing` has it, without importing typing; type checkers know the name
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])
    E = TypeVar("E", bound=BaseException)


def about_the_caller(error: E) -> E:
    """Mark an error of a builtin type as one that says what is wrong with the line that called this library."""
    error.about_the_caller = True  # type: ignore[attr-defined]
    return error


def ends_at_the_caller(function: F) -> F:
    """Decorate a public function: the traceback of a marked error ends at the line that called the function.

    Errors of this library are marked by their classes. An error that passed through the user's code keeps all frames.
    In development mode (`python -X dev`), each error does. Before Python 3.11, the frame of this function stays.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True  # pytest and IPython read it
        try:
            return function(*args, **kwargs)
        except Exception as error:  # any error may be marked; all are raised again
            if (
                getattr(error, "about_the_caller", False)
                and not sys.flags.dev_mode
                and without_users(error.__traceback__)
            ):
                _hide_frames(error)
            raise  # adds no frame, so the next frame is the caller's

    return call  # type: ignore[return-value]


class KnownAttributes:
    """Base class of objects whose error for a missing attribute says what to write instead.

    Type checkers do not see `__getattr__`, so they report the same mistakes.
    """

    __slots__ = ()

    def _no_attribute(self, name: str) -> AttributeError:
        """The error for an attribute that the object lacks."""
        raise NotImplementedError

    if not TYPE_CHECKING:

        @ends_at_the_caller
        def __getattr__(self, name: str) -> object:
            if hasattr(type(self), name):  # a property that raised AttributeError itself
                return object.__getattribute__(self, name)
            raise self._no_attribute(name)


def _hide_frames(error: BaseException) -> None:
    """Remove the frames of this library, and errors that it handled while it raised this one."""
    if error.__traceback__ is not None:
        error.__traceback__.tb_next = None  # Python 3.10 keeps the first entry in a bare `raise`
    error.__traceback__ = None
    context = error.__context__
    while context is not None and without_users(context.__traceback__):
        context = context.__context__
    error.__context__ = context


def without_users(trace: TracebackType | None, *, packages: tuple[str, ...] = ("slurm",)) -> bool:
    """Whether all frames are of this library, or of some packages."""
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in packages:
            return False
        trace = trace.tb_next
    return True
