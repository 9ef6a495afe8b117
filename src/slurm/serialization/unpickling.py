"""Unpickling: loads results and exceptions, also if their classes were sent by value."""

from __future__ import annotations

import pickle
import signal
import sys
import threading
from functools import partial
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from typing_extensions import Self


def load(file: IO[bytes]) -> Any:
    """Unpickle one object. The caller has checked that no other user could write the file."""
    return _Unpickler(file).load()


class SignalWatch:
    """Distinguishes an exception of a signal handler (Ctrl-C, a timer) from the same exception of unpickled code.

    Used as a context manager in the main thread, it wraps the current handlers and remembers what they raise. In other
    threads it does nothing, because no handler runs there.
    """

    _SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2")

    def __init__(self) -> None:
        self._own: dict[int, tuple[Any, Any]] = {}
        self._raised: BaseException | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in filter(None, (getattr(signal, name, None) for name in self._SIGNALS)):
                before = signal.getsignal(number)
                if callable(before):  # SIG_DFL, SIG_IGN and None (not set from Python) are not callable
                    own = partial(self._call, before)
                    self._own[number] = own, before
                    signal.signal(number, own)
        return self

    def __exit__(self, *_: object) -> None:
        for number, (own, before) in self._own.items():
            if signal.getsignal(number) is own:
                signal.signal(number, before)

    def raise_if_sent(self) -> None:
        """Raise the exception of a handler, if there is one. Call it after catching an exception of unpickled code."""
        if self._raised is not None:
            raise self._raised

    def _call(self, handler: Callable[[int, FrameType | None], Any], number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException as error:  # the user's own handler; unpickled code may swallow what it raises
            self._raised = error
            raise


class _Unpickler(pickle.Unpickler):
    """An unpickler that leaves this process's own classes unchanged.

    cloudpickle recognizes a class of a notebook or script when it comes back, but replaces its attributes with those of
    the pickle. Its methods would then be copies with separate globals, which no later cell can change.
    """

    def find_class(self, module: str, name: str, /) -> Any:
        found = super().find_class(module, name)
        own = (module, name) == ("cloudpickle.cloudpickle", "_class_setstate")
        return partial(_fill, found) if own else found


def _fill(fill: Callable[[type, Any], type], kind: type, state: Any) -> type:
    """Set the pickled state on a class, unless the class is the one with its name in this process."""
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return kind if found is kind else fill(kind, state)
