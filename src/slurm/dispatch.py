"""Calling back: users' callbacks in a thread of their own, so that one that waits for a job keeps no job waiting."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_log = logging.getLogger(__name__)
_due: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
_lock = threading.Lock()
_threads: list[threading.Thread] = []


def dispatch(callback: Callable[[], object]) -> None:
    """Call it soon, after those before it, in a background thread; what it raises is logged."""
    _due.put(callback)
    with _lock:
        if not _threads or not _threads[-1].is_alive():
            _threads[:] = [threading.Thread(target=_run, name="slurm-callbacks", daemon=True)]
            _threads[-1].start()


def call(callbacks: Iterable[Callable[[], object]]) -> None:
    """Call each, here and now; what one raises is logged."""
    for callback in callbacks:
        try:
            callback()
        except BaseException:  # noqa: BLE001 - the user's own; it may end itself but not this thread
            _log.exception("a job's callback failed")


def _run() -> None:
    while True:
        call([_due.get()])
