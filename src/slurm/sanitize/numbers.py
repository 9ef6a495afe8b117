"""Numbers that a caller gives: what is no number, or can't be meant, is refused in words."""

from __future__ import annotations

import threading
from typing import Any


def seconds_to_wait(timeout: float | None, name: str = "timeout") -> float | None:
    """A timeout as threads take it: None for no limit, as for infinity; below zero is zero. ValueError for NaN."""
    if timeout is None:
        return None
    number = _number(timeout, name, "a number of seconds, or None")
    return None if number >= threading.TIMEOUT_MAX else max(0.0, number)


def positive_seconds(seconds: float, name: str) -> float:
    """A finite time longer than nothing. Raises ValueError."""
    number = _number(seconds, name, "a number of seconds above 0")
    if not 0 < number < threading.TIMEOUT_MAX:
        raise ValueError(f"{name}={seconds!r}: expected a number of seconds above 0")
    return number


def bounded(value: float, name: str, *, most: float, unit: str) -> float:
    """A number from 0 to `most`. Raises ValueError."""
    number = _number(value, name, f"a number of {unit}")
    if not 0 <= number <= most:
        raise ValueError(f"{name}={value!r}: expected a number of {unit} from 0 to {most:.0f}")
    return number


def whole(value: int, name: str, *, least: int = 0) -> int:
    """A whole number from `least`. Raises ValueError."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(f"{name}={value!r}: expected a whole number from {least}")
    return int(value)


def _number(value: Any, name: str, expected: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if isinstance(value, (str, bytes)) or number != number:  # noqa: PLR0124 - NaN alone differs from itself
        raise ValueError(f"{name}={value!r}: expected {expected}")
    return number
