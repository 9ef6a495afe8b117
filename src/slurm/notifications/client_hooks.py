"""Telling: hooks of the client are called in a thread of their own, so that what they do changes nothing."""

from __future__ import annotations

import atexit
import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from slurm.callbacks.base import PACKAGING_HOOKS, overrides
from slurm.callbacks.events import PackagingBeginEvent, PackagingEndEvent
from slurm.environments.base import BuildListener
from slurm.notifications.dispatcher import call, done_callbacks, flush_hooks, hooks, settling

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurm.callbacks.base import Callback
    from slurm.callbacks.events import ClientEvent

_log = logging.getLogger(__name__)

_used: dict[int, Callback] = {}
"""All callbacks that anything was to be told to, by their ids."""
_warned: set[tuple[int, str]] = set()


@atexit.register
def _close() -> None:
    flush_hooks()
    call(callback.close for callback in _used.values())


def _after_fork() -> None:
    """In the child of a fork nothing is told: that is for the parent to do."""
    hooks.clear()
    done_callbacks.clear()
    settling.clear()
    _used.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def use(callbacks: Iterable[Callback]) -> None:
    """Callbacks are told from here on: close them when the program ends."""
    _used.update((id(callback), callback) for callback in callbacks)


def tell(callbacks: Iterable[Callback], event: ClientEvent) -> None:
    """Call a hook of callbacks, here and now; what one raises is warned of, once."""
    for callback in callbacks:
        try:
            getattr(callback, event.hook)(event)
        except BaseException as error:  # noqa: BLE001 - a hook is foreign code, and changes nothing
            if (id(callback), event.hook) not in _warned:
                _warned.add((id(callback), event.hook))
                words = "%s.%s failed, which changes nothing else; it is told of this once"
                _log.warning(words, type(callback).__qualname__, event.hook, exc_info=error)


class NotifyingBuildListener(BuildListener):
    """Tells callbacks of environments that are made."""

    def __init__(self, url: str, callbacks: Iterable[Callback]) -> None:
        self._url = url
        self._callbacks = [callback for callback in callbacks if overrides(callback, PACKAGING_HOOKS)]
        use(self._callbacks)

    def begin(self, key: str) -> None:
        """It isn't there, and this process makes it."""
        super().begin(key)
        self._tell(PackagingBeginEvent, environment=key)

    def end(self, key: str, error: BaseException | None) -> None:
        """It is ready, or `error` is why not."""
        super().end(key, error)
        self._tell(PackagingEndEvent, environment=key, error=error and f"{type(error).__name__}: {error}")

    def _tell(self, kind: type[ClientEvent], **facts: Any) -> None:
        if self._callbacks:
            hooks.put(partial(tell, self._callbacks, kind(url=self._url, time=time.time(), **facts)))
