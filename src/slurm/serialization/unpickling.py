"""Unpickling what comes back: results and exceptions, some of them of classes that travelled by value."""

from __future__ import annotations

import pickle
import sys
from functools import partial
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def load(file: IO[bytes]) -> Any:
    """Unpickle one object; the file must be the user's own."""
    return _Unpickler(file).load()


class _Unpickler(pickle.Unpickler):
    """An unpickler that leaves this process's own classes as they are.

    cloudpickle knows a class of a notebook's or a script's again when it comes back, but sets on it all that came with
    it. Its methods would then be copies, in a world of their own that no later cell can change.
    """

    def find_class(self, module: str, name: str, /) -> Any:
        found = super().find_class(module, name)
        own = (module, name) == ("cloudpickle.cloudpickle", "_class_setstate")
        return partial(_fill, found) if own else found


def _fill(fill: Callable[[type, Any], type], kind: type, state: Any) -> type:
    """Give a class what came with it, unless it is the one that stands under its name here."""
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return kind if found is kind else fill(kind, state)
