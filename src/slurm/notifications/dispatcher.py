"""Dispatcher: run users' callbacks in separate threads, so that a callback that waits for a job delays no job."""

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
    """A background thread that makes calls one after the other. The first call starts it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.clear()

    def clear(self) -> None:
        """Forget the thread and the queued calls. In the child of a fork, both belong to the parent."""
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._settled: threading.Event | None = None

    def put(self, callback: Callable[[], object], *, settles: bool = False) -> None:
        """Queue a call. An exception that the call raises is logged. `settle` waits for the calls with `settles`."""
        self._calls.put(callback)
        if settles:
            self._settled = settled = threading.Event()
            self._calls.put(settled.set)
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def flush(self, timeout: float) -> bool:
        """Wait until all queued calls are done; return False after `timeout` seconds."""
        if self._thread is None or threading.current_thread() is self._thread:
            return True
        reached = threading.Event()
        self.put(reached.set)
        return reached.wait(timeout)

    def settle(self, timeout: float) -> None:
        """Wait at most `timeout` seconds until the queued calls with `settles` are done. Waits for each only once."""
        settled, self._settled = self._settled, None
        if settled is not None and threading.current_thread() is not self._thread:
            settled.wait(timeout)

    def _run(self) -> None:
        while True:
            call([self._calls.get()])


done_callbacks, settling, hooks = (
    CallbackThread("slurm-callbacks"),
    CallbackThread("slurm-settling"),
    CallbackThread("slurm-hooks"),
)
"""The threads for `add_done_callback`, for the executor's futures, and for hooks. The executor's futures must not wait
for callbacks of `add_done_callback`, so they have their own thread."""
dispatch = done_callbacks.put


def flush_hooks() -> None:
    """Wait until the queued hooks have been called, but at most a few seconds, because a hook may hang."""
    if not hooks.flush(_FLUSH_SECONDS):
        _log.warning("callbacks did not finish within %.0f s; not waiting any longer", _FLUSH_SECONDS)


def call_here(callback: Callable[[], object]) -> None:
    """Call the callback in the caller's thread. An exception is logged; an interrupt reaches the caller."""
    try:
        callback()
    except Exception:  # noqa: BLE001 - a user's function may fail, but its caller did not call it
        _log.exception("a callback of a job failed")


def settle_hooks() -> None:
    """Wait until the hooks for finished elements have been called, but at most a few seconds."""
    hooks.settle(_FLUSH_SECONDS)


def call(callbacks: Iterable[Callable[[], object]]) -> None:
    """Call each callback in this thread. Exceptions are logged."""
    for callback in callbacks:
        try:
            callback()
        except BaseException:  # noqa: BLE001 - a user's function may fail, but must not end this thread
            _log.exception("a callback of a job failed")
