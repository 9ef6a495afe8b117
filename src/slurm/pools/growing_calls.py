"""GrowingCalls: the part of a client's calls that `Growth` uses to add elements to an elastic pool."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from slurm.pools.answered_calls import AnsweredCalls

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from threading import RLock

    from slurm.pools.blocks import Block, Blocks
    from slurm.pools.client_files import ClientFiles
    from slurm.pools.growth import Growth


class GrowingCalls(AnsweredCalls):
    """The calls of a client of a pool that may get more elements."""

    _blocks: Blocks
    _files: ClientFiles | None
    _growth: Growth | None
    _reading: RLock
    _known: int
    """The number of elements that this client follows."""
    _ended: set[int]
    """The elements that have ended."""

    def _element_ended(self, element: int) -> None:
        """Note that an element has ended."""
        raise NotImplementedError

    def _claimed(self, blocks: Sequence[Block]) -> Iterable[tuple[Block, str | None]]:
        """Each block with the name of its claimant, or None. Raises OSError and SlurmError."""
        return zip(blocks, self._pool_files.claimants(self._directory, [each.number for each in blocks]), strict=True)

    @property
    def follows(self) -> bool:
        """Whether any call that was written has not ended."""
        return bool(self._blocks)

    def waiting(self, most: int) -> list[float]:
        """The seconds that each unclaimed block among the last `most` has waited. Raises OSError and SlurmError."""
        found = [block for block, name in self._claimed(self._blocks.last(most)) if name is None]
        if self._files is not None:
            self._files.elements = max(1, len(self._answers.begun - self._ended))
        return [time.monotonic() - block.since for block in found]

    def begun(self) -> set[int]:
        """The elements that are known to have begun."""
        return self._answers.begun

    def learn_elements(self) -> None:
        """Follow the elements that were added to the pool. Raises OSError and SlurmError."""
        with self._reading:
            new = range(self._known, self._pool.elements)
            self._known = new.stop
            if self._growth is None:
                self._answers.add_elements(new)
            elif self._files is None:
                self._answers.add_present(new)
            elif left := [element for element in new if not self._pool.element_finished(element)]:
                self._pool_files.add_outboxes(self._place.store.directory(self._pool.key), left, self._files.number)
                self._answers.add_elements(left)
        for element in new:
            self._place.tracker.when_finished(self._pool, element, partial(self._element_ended, element))
