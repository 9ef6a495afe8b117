"""Calling back: users' code in threads of its own, so that what waits for a job there keeps no job waiting."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_log = logging.getLogger(__name__)

_FLUSH_SECONDS = 10.0


class CallbackThread:
    """A background thread that makes calls one after the other; it is started by the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.clear()

    def clear(self) -> None:
        """Start anew: in the child of a fork the thread is gone, and what was due is the parent's."""
        self._due: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, callback: Callable[[], object]) -> None:
        """Call it soon, after those before it; what it raises is logged."""
        self._due.put(callback)
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def flush(self, timeout: float) -> bool:
        """Wait until all that is due has been called; False if `timeout` seconds didn't suffice."""
        if self._thread is None or threading.current_thread() is self._thread:
            return True
        reached = threading.Event()
        self.put(reached.set)
        return reached.wait(timeout)

    def _run(self) -> None:
        while True:
            call([self._due.get()])


done_callbacks, settling, hooks = (
    CallbackThread("slurm-callbacks"),
    CallbackThread("slurm-settling"),
    CallbackThread("slurm-hooks"),
)
"""For users' callbacks; for what must not wait for those; for hooks."""
dispatch = done_callbacks.put


def flush_hooks() -> None:
    """Wait until the hooks that are due have been called, but not for one that hangs."""
    if not hooks.flush(_FLUSH_SECONDS):
        _log.warning("callbacks are not done after %.0f s; going on without them", _FLUSH_SECONDS)


def call(callbacks: Iterable[Callable[[], object]]) -> None:
    """Call each, here and now; what one raises is logged."""
    for callback in callbacks:
        try:
            callback()
        except BaseException:  # noqa: BLE001 - the user's own; it may end itself but not this thread
            _log.exception("a job's callback failed")
