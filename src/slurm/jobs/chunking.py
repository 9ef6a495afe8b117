"""Chunking: how many calls an element makes with `chunk_size="auto"`, by what the first calls took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

AUTO: Final = "auto"
CANARY = 20
"""The most calls that are submitted first, to learn how long they take."""
_SECONDS = 300.0
_LARGEST = 1000


def chunk_for(seconds: float, workers: int = 1) -> int:
    """How many calls that take some seconds go into one element: about five minutes' worth, at most 1 000.

    With workers, that many run at a time.
    """
    return max(1, min(_LARGEST, workers * max(1, int(_SECONDS / max(seconds, 0.001)))))


def canary_of(calls: Sequence[int]) -> Sequence[int]:
    """The calls to submit first: at most 20, from all over; all if there are no more."""
    return calls[:: max(1, -(-len(calls) // CANARY))]
