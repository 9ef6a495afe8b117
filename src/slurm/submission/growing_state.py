"""GrowingState: the state of an elastic pool in this process. Clients add elements to such a pool while calls wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.submission.submission_state import SubmissionState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurm.protocol import Block, Refused, Submitted


class GrowingState(SubmissionState):
    """A submission whose number of elements grows: it counts those that were queued so far."""

    def learn_records(self, submitted: Submitted | None, refused: Refused | None = None) -> None:
        """Record the scheduler's ids, also those of elements that were added."""
        super().learn_records(submitted, refused)
        if submitted is not None:
            self.queued(submitted.blocks)

    def queued(self, blocks: Iterable[Block]) -> None:
        """Record elements that were queued."""
        super().queued(blocks)
        with self._lock:
            if self._submitted is not None:
                last = max((block.first + block.count for block in self._submitted.blocks), default=0)
                self.count = self.elements = last
