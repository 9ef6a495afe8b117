"""Chunking: how many calls an element makes with `chunk_size="auto"`, from the duration of the first calls."""

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
    """Return how many calls, of `seconds` each, one element makes in about five minutes; at most 1,000.

    With workers, this many calls run at the same time.
    """
    return max(1, min(_LARGEST, workers * max(1, int(_SECONDS / max(seconds, 0.001)))))


def canary_of(calls: Sequence[int]) -> Sequence[int]:
    """The calls to submit first: at most 20, spread over all calls; all calls if there are at most 20."""
    return calls[:: max(1, -(-len(calls) // CANARY))]
