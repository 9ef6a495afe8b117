"""Moments: times as users write them, such as "90", "30m" or "2026-11-21"."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS: Mapping[str, float] = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(rf"(\d{{1,9}}(?:\.\d{{1,9}})?)([{''.join(_UNITS)}]?)", re.ASCII)


def seconds(text: str) -> float:
    """Return the seconds of a duration: a number, or a number with a unit. Raises ValueError."""
    parts = _DURATION.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} is not a time: write seconds, or a number with s, m, h, d or w: 30m.")
    return float(parts[1]) * _UNITS[parts[2]]


def past(text: str) -> float:
    """Return a past time in seconds since the epoch, from a duration with a unit ("30m" ago) or a date.

    Raises ValueError.
    """
    parts = _DURATION.fullmatch(text)
    if parts is not None and parts[2]:
        return time.time() - float(parts[1]) * _UNITS[parts[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time: write how long ago, such as 30m or 2d, or 2026-11-21.") from None
