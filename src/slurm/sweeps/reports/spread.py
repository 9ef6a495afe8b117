"""Spread: how numbers are distributed, in seven numbers."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Spread(NamedTuple):
    """The distribution of some numbers. Quantiles are interpolated between two numbers."""

    number: int
    mean: float
    least: float
    lower: float
    """A quarter of the numbers are below it."""
    median: float
    upper: float
    """A quarter of the numbers are above it."""
    most: float


class Bin(NamedTuple):
    """The count of the numbers from `low` to `high`. `high` itself belongs to the next bin, except for the last bin."""

    low: float
    high: float
    number: int


def spread_of(numbers: Iterable[float]) -> Spread | None:
    """Return the distribution of some numbers; None if there are no numbers."""
    found = sorted(numbers)
    if not found:
        return None
    lower, median, upper = (_quantile(found, part) for part in (0.25, 0.5, 0.75))
    return Spread(len(found), fmean(found), found[0], lower, median, upper, found[-1])


def histogram(numbers: Sequence[float], bins: int = 30) -> list[Bin]:
    """Count numbers in ranges of equal width. Equal numbers are in one range; without numbers, there is no range."""
    if not numbers:
        return []
    low, high = min(numbers), max(numbers)
    width = (high - low) / bins
    if width <= 0:
        return [Bin(low, high, len(numbers))]
    counts = [0] * bins
    for number in numbers:
        counts[min(int((number - low) / width), bins - 1)] += 1
    return [Bin(low + at * width, low + (at + 1) * width, count) for at, count in enumerate(counts)]


def _quantile(ordered: Sequence[float], part: float) -> float:
    at = part * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)
