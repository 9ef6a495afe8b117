"""Waiting in tests: for what must happen soon, and never for ever."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(happened: Callable[[], object], timeout: float = 120.0) -> None:
    """Wait until `happened()`; AssertionError after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < end, "it didn't happen in time"
        time.sleep(0.02)
