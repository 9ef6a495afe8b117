"""GrowingState: what this process knows about an elastic pool, to which clients add elements while calls wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.submission.submission_state import SubmissionState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurm.protocol import Block, Refused, Submitted


class GrowingState(SubmissionState):
    """A submission whose elements are those that were queued so far."""

    def learn_records(self, submitted: Submitted | None, refused: Refused | None = None) -> None:
        """Take over the scheduler's ids, also those of elements that were added since."""
        super().learn_records(submitted, refused)
        if submitted is not None:
            self.queued(submitted.blocks)

    def queued(self, blocks: Iterable[Block]) -> None:
        """Add elements that were queued."""
        super().queued(blocks)
        with self._lock:
            if self._submitted is not None:
                last = max((block.first + block.count for block in self._submitted.blocks), default=0)
                self.count = self.elements = last
