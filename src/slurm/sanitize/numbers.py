"""Checks of numbers that a caller passes. A value that is not a number or out of range raises ValueError."""

from __future__ import annotations

import threading
import time
from typing import Any


def seconds_to_wait(timeout: float | None, name: str = "timeout") -> float | None:
    """Return a timeout for `threading`: None for None or infinity, 0 for a negative number. ValueError for NaN."""
    if timeout is None:
        return None
    number = _number(timeout, name, "a number of seconds, or None")
    return None if number >= threading.TIMEOUT_MAX else max(0.0, number)


def end_of_wait(timeout: float | None) -> float | None:
    """Return when a timeout that begins now is over, by the monotonic clock; None for no limit. ValueError for NaN."""
    seconds = seconds_to_wait(timeout)
    return None if seconds is None else time.monotonic() + seconds


def seconds_until(end: float | None) -> float | None:
    """Return the seconds left until `end`, at least 0; None for no limit."""
    return None if end is None else max(0.0, end - time.monotonic())


def positive_seconds(seconds: float, name: str) -> float:
    """Return a finite number of seconds above 0. Raises ValueError."""
    expected = "a number of seconds above 0"
    number = _number(seconds, name, expected)
    if not 0 < number < threading.TIMEOUT_MAX:
        raise ValueError(f"{name}={seconds!r}: expected {expected}")
    return number


def bounded(value: float, name: str, *, most: float, unit: str) -> float:
    """Return a number from 0 to `most`. Raises ValueError."""
    number = _number(value, name, f"a number of {unit}")
    if not 0 <= number <= most:
        raise ValueError(f"{name}={value!r}: expected a number of {unit} from 0 to {most:.0f}")
    return number


def whole(value: int, name: str, *, least: int = 0) -> int:
    """Return a whole number of at least `least`. Raises ValueError."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(f"{name}={value!r}: expected a whole number from {least}")
    return int(value)


def _number(value: Any, name: str, expected: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if isinstance(value, (str, bytes)) or number != number:  # noqa: PLR0124 - only NaN differs from itself
        raise ValueError(f"{name}={value!r}: expected {expected}")
    return number
