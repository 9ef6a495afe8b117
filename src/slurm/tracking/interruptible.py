"""Interruptible: waits that Ctrl-C ends, no matter when it is pressed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = 1.0


def in_pieces(wait: Callable[[float], object], timeout: float | None = None) -> bool:
    """Call `wait(seconds)` until it returns something true; False if that takes longer than `timeout` seconds.

    No call is longer than a second. CPython notices a signal when the main thread runs Python code, or when the signal
    interrupts a system call. A signal that comes just before the system call does neither, so a wait without a time
    limit would continue until it ends by itself.
    """
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        left = _SECONDS if end is None else min(_SECONDS, max(0.0, end - time.monotonic()))
        if wait(left):
            return True
        if end is not None and time.monotonic() >= end:
            return False
