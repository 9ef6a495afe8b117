"""Levels: the values of a parameter, or ranges of values if there are many, with their points."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 12
"""The most values of a parameter for which each value is a level of its own."""

_RANGES = 8
_LENGTH = 60
"""The most characters in the label of a value."""


class Level(NamedTuple):
    """A value of a parameter, or a range of values."""

    label: str
    rows: Sequence[int]
    """The numbers of the points that have this value, or a value in this range."""


def levels_of(values: Sequence[Any]) -> list[Level]:
    """Group equal values, in order. Many different numbers are grouped into ranges with about as many points each.

    Of many values that are not numbers, the most frequent ones are levels, and the rest is one level, "others".
    """
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        rows.setdefault(_text(value), []).append(row)
    if len(rows) <= MOST:
        firsts = {text: values[some[0]] for text, some in rows.items()}
        ordered = sorted(rows, key=lambda text: firsts[text]) if all(map(_is_number, firsts.values())) else list(rows)
        return [Level(text, rows[text]) for text in ordered]
    if all(map(_is_number, values)):
        return _ranges(values)
    frequent = sorted(rows, key=lambda text: -len(rows[text]))
    named, rest = frequent[: MOST - 1], frequent[MOST - 1 :]
    others = Level(f"{len(rest)} others", [row for text in rest for row in rows[text]])
    return [*(Level(text, rows[text]) for text in named), others]


def _ranges(values: Sequence[float]) -> list[Level]:
    """Return ranges of numbers with about as many points each; equal numbers are in the same range."""
    ordered = sorted(range(len(values)), key=values.__getitem__)
    found: list[list[int]] = [[]]
    for place, row in enumerate(ordered):
        full = len(found[-1]) >= len(values) / _RANGES
        if full and values[row] != values[ordered[place - 1]]:
            found.append([])
        found[-1].append(row)
    return [Level(_range(values[some[0]], values[some[-1]]), some) for some in found]


def _range(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if _is_number(value):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 1]}…"
