"""Own signals: handlers for this process alone. A process that it forks does not inherit them.

A handler in Python runs between two instructions of Python. If the signal arrives just before a system call that
waits, it runs after that call. A worker of `multiprocessing` waits for its next item, so it would survive the SIGTERM
that its pool ends it with, and the pool would wait for it forever.
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
    """Set handlers of signals, by number. A forked process gets the default actions, but for `inherited`."""
    for number, handler in handlers.items():
        _signal.signal(number, handler)
    if not _handlers:
        os.register_at_fork(before=_block, after_in_parent=_restore, after_in_child=_after_in_child)
    _handlers.update(handlers)


@contextmanager
def inherited() -> Iterator[None]:
    """Let processes that are forked meanwhile have the handlers too."""
    _inherited.append(True)
    try:
        yield
    finally:
        _inherited.pop()


def _block() -> None:
    """Keep the signals for later: Python forgets those that arrive before a forked process has set itself up."""
    _masks[_get_ident()] = _signal.pthread_sigmask(_signal.SIG_BLOCK, _handlers)


def _after_in_child() -> None:
    if not _inherited:
        for number, handler in _handlers.items():
            if _signal.getsignal(number) is handler:  # and not one that the user's code has set
                _signal.signal(number, _signal.SIG_DFL)
    _restore()


def _restore() -> None:
    _signal.pthread_sigmask(_signal.SIG_SETMASK, _masks.pop(_get_ident()))
