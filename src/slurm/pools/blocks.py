"""Blocks: what a client remembers of the blocks of calls that it has written."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from slurm.options.retry import Retry


class Block:
    """A block, and its calls that have not ended."""

    __slots__ = ("attempt", "bytes", "left", "number", "offset", "retry")

    def __init__(self, number: int, calls: range, offset: int, size: int, retry: Retry | None, attempt: int) -> None:
        self.number, self.left, self.offset, self.bytes = number, set(calls), offset, size
        self.retry, self.attempt = retry, attempt


def ranges(numbers: Iterable[int]) -> Iterator[range]:
    """Numbers as ranges of neighbours."""
    for _, group in groupby(enumerate(sorted(numbers)), lambda each: each[1] - each[0]):
        some = [number for _, number in group]
        yield range(some[0], some[-1] + 1)
