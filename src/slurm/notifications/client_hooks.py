"""Client hooks: call hooks in a separate thread, so that they cannot affect a submission or a result."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from slurm.callbacks.base import PACKAGING_HOOKS, overrides
from slurm.callbacks.events import PackagingBeginEvent, PackagingEndEvent
from slurm.environments.base import BuildListener
from slurm.notifications.dispatcher import call, done_callbacks, flush_hooks, hooks, settle_hooks, settling

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurm.callbacks.base import Callback
    from slurm.callbacks.events import ClientEvent

_log = logging.getLogger(__name__)

_to_close: dict[int, Callback] = {}
"""The callbacks to close, by their ids."""
_shells: list[Any] = []
"""The notebook's shell, when its cells wait for hooks."""
_warned: set[tuple[int, str]] = set()


@atexit.register
def _close() -> None:
    flush_hooks()
    call(callback.close for callback in _to_close.values())


def _after_fork() -> None:
    """Drop all queued calls in the child of a fork, because the parent makes them."""
    hooks.clear()
    done_callbacks.clear()
    settling.clear()
    _to_close.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def register(callbacks: Iterable[Callback]) -> None:
    """Close these callbacks when the program ends. In a notebook, each cell ends after the hooks of finished jobs."""
    _to_close.update((id(callback), callback) for callback in callbacks if overrides(callback, ["close"]))
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is not None and shell not in _shells:
        _shells.append(shell)
        # A notebook that is executed and saved keeps what the callbacks have shown when a cell ends.
        shell.events.register("post_run_cell", lambda *_: settle_hooks())


def notify(callbacks: Iterable[Callback], event: ClientEvent) -> None:
    """Call the hook of an event in this thread. An exception is logged once for each callback and hook."""
    for callback in callbacks:
        try:
            getattr(callback, event.hook)(event)
        except BaseException as error:  # noqa: BLE001 - a hook is foreign code and must not affect a job
            if (id(callback), event.hook) not in _warned:
                _warned.add((id(callback), event.hook))
                message = "%s.%s failed; jobs are not affected, and further failures of it are not logged"
                _log.warning(message, type(callback).__qualname__, event.hook, exc_info=error)


class NotifyingBuildListener(BuildListener):
    """Calls the packaging hooks of callbacks when an environment is built."""

    def __init__(self, url: str, callbacks: Iterable[Callback]) -> None:
        self._url = url
        self._callbacks = [callback for callback in callbacks if overrides(callback, PACKAGING_HOOKS)]
        register(self._callbacks)

    def begin(self, key: str) -> None:
        """Report that this process starts to build a missing environment."""
        super().begin(key)
        self._notify(PackagingBeginEvent, environment=key)

    def end(self, key: str, error: BaseException | None) -> None:
        """Report that the build has succeeded, or has failed with `error`."""
        super().end(key, error)
        self._notify(PackagingEndEvent, environment=key, error=error and f"{type(error).__name__}: {error}")

    def _notify(self, kind: type[ClientEvent], **facts: Any) -> None:
        if self._callbacks:
            hooks.put(partial(notify, self._callbacks, kind(url=self._url, time=time.time(), **facts)))
