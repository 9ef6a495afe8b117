"""Own signals: handlers for this process alone. A process that it forks does not inherit them.

A Python handler runs between two instructions of Python. If a signal arrives just before a system call that waits, the
handler runs after this call. A worker of `multiprocessing` waits for its next item. So it would survive the SIGTERM of
its pool, and the pool would wait for the worker forever.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_signal, _get_ident = __import__("_signal"), __import__("_thread").get_ident  # `signal` imports `enum`
_handlers: dict[int, Callable[..., object]] = {}
_masks: dict[int, set[int]] = {}
"""The signals that each thread blocked before it forked: several threads may fork at once."""
_inherited: list[bool] = []


def handle(handlers: Mapping[int, Callable[..., object]]) -> None:
    """Set handlers of signals, by number. A forked process gets the default actions, except within `inherited`."""
    for number, handler in handlers.items():
        _signal.signal(number, handler)
    if not _handlers:
        os.register_at_fork(before=_block, after_in_parent=_restore, after_in_child=_after_in_child)
    _handlers.update(handlers)


@contextmanager
def inherited() -> Iterator[None]:
    """Let processes that are forked within this context keep the handlers."""
    _inherited.append(True)
    try:
        yield
    finally:
        _inherited.pop()


def _block() -> None:
    """Block the signals before a fork: Python loses signals that arrive while a forked process sets itself up."""
    _masks[_get_ident()] = _signal.pthread_sigmask(_signal.SIG_BLOCK, _handlers)


def _after_in_child() -> None:
    if not _inherited:
        for number, handler in _handlers.items():
            if _signal.getsignal(number) is handler:  # keep a handler that the user's code has set
                _signal.signal(number, _signal.SIG_DFL)
    _restore()


def _restore() -> None:
    _signal.pthread_sigmask(_signal.SIG_SETMASK, _masks.pop(_get_ident()))
