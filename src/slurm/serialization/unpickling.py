"""Unpickling what comes back: results and exceptions, some of them of classes that travelled by value."""

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
    """Unpickle one object; the file must be the user's own."""
    return _Unpickler(file).load()


class SignalWatch:
    """Tells what a signal handler raises (Ctrl-C, a timer) from the same exception raised by what is unpickled.

    While it is entered in the main thread, the handlers that are set then are called by handlers of its own, which
    keep what they raise. In other threads no handler runs, so it does nothing.
    """

    _SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2")

    def __init__(self) -> None:
        self._own: dict[int, tuple[Any, Any]] = {}
        self._raised: BaseException | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in filter(None, (getattr(signal, name, None) for name in self._SIGNALS)):
                before = signal.getsignal(number)
                if callable(before):  # not SIG_DFL, SIG_IGN, or None: one that was not set from Python
                    own = partial(self._call, before)
                    self._own[number] = own, before
                    signal.signal(number, own)
        return self

    def __exit__(self, *_: object) -> None:
        for number, (own, before) in self._own.items():
            if signal.getsignal(number) is own:
                signal.signal(number, before)

    def raise_if_sent(self) -> None:
        """Raise what a handler has raised; for who has caught an exception of unpickled code, or that one."""
        if self._raised is not None:
            raise self._raised

    def _call(self, handler: Callable[[int, FrameType | None], Any], number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException as error:
            self._raised = error
            raise


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
