"""Blocks: the blocks of calls that a client has written and that contain calls that have not ended."""

from __future__ import annotations

import time
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from slurm.errors import PoolError
from slurm.tracking.interruptible import in_pieces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from threading import Condition

    from slurm.options.retry import Retry

BLOCK_BYTES = 1 << 20
"""The largest size in bytes of the calls in a block of several calls, including arguments in separate files."""
_BLOCKS_OF_A_WORKER, _MOST_CALLS = 16, 512
_CALL_BYTES = (1 << 32) - 1
"""The largest size of a call in bytes, because the lengths in a block have 4 bytes."""


def calls_of_a_block(calls: int, workers: int) -> int:
    """The number of calls in each block of a map: it has 16 blocks for each worker, of at most 512 calls each."""
    return max(1, min(_MOST_CALLS, calls // (_BLOCKS_OF_A_WORKER * workers)))


def check_sizes(calls: Sequence[bytes]) -> None:
    """Raise PoolError for a call whose arguments are too large for a block."""
    if largest := max((len(call) for call in calls if len(call) > _CALL_BYTES), default=0):
        raise PoolError(
            f"the arguments of a call have {largest:,} bytes, and a pool takes {_CALL_BYTES:,}: "
            "pass the name of a file, or what cluster.put(…) returns"
        )


class Block:
    """A block, and those of its calls that have not ended."""

    __slots__ = ("attempt", "bytes", "left", "number", "offset", "retry", "since")

    def __init__(self, number: int, calls: range, offset: int, size: int, retry: Retry | None, attempt: int) -> None:
        self.number, self.left, self.offset, self.bytes = number, set(calls), offset, size
        self.retry, self.attempt, self.since = retry, attempt, time.monotonic()


class Blocks:
    """The blocks with calls that have not ended, in order. `changed` protects them, and is notified when calls end.

    There is no room for more calls if there are `most_calls` calls, or `most_bytes` bytes of arguments.
    """

    most_calls, most_bytes = 200_000, 256 << 20

    def __init__(self, changed: Condition) -> None:
        self._changed = changed
        self._blocks: dict[int, Block] = {}
        self._of_calls: dict[int, Block] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def add(self, block: Block) -> None:
        """Add a block, if any of its calls has not ended. The caller drops an earlier block with the same calls."""
        with self._changed:
            if block.left:
                self._blocks[block.number] = block
                self._bytes += block.bytes
                self._of_calls.update(dict.fromkeys(block.left, block))

    def end(self, numbers: Iterable[int]) -> None:
        """Remove calls that have ended."""
        with self._changed:
            for number in numbers:
                if block := self._of_calls.pop(number, None):
                    block.left.discard(number)
                    if not block.left:
                        self.drop(block)
            self._changed.notify_all()

    def drop(self, block: Block) -> None:
        """Remove a block whose calls are in other blocks now."""
        with self._changed:
            if self._blocks.pop(block.number, None):
                self._bytes -= block.bytes

    def all(self) -> list[Block]:
        """The blocks."""
        with self._changed:
            return list(self._blocks.values())

    @property
    def first(self) -> int:
        """The number of the first block; 0 if there is none."""
        with self._changed:
            return next(iter(self._blocks), 0)

    def last(self, most: int) -> list[Block]:
        """Return the last `most` blocks that were written, newest first."""
        with self._changed:
            return [block for block, _ in zip(reversed(self._blocks.values()), range(most), strict=False)]

    def wait_for_room(self) -> None:
        """Wait until more calls may be written."""
        with self._changed:
            in_pieces(partial(self._changed.wait_for, lambda: self.has_room))

    @property
    def has_room(self) -> bool:
        """Whether more calls may be written now."""
        return len(self._of_calls) < self.most_calls and self._bytes < self.most_bytes


def ranges(numbers: Iterable[int]) -> Iterator[range]:
    """Yield the numbers as ranges of consecutive numbers."""
    for _, group in groupby(enumerate(sorted(numbers)), lambda each: each[1] - each[0]):
        some = [number for _, number in group]
        yield range(some[0], some[-1] + 1)
