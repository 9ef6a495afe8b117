"""GrowingState: the state of an elastic pool in this process. Clients add elements to such a pool while calls wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.submission.status import Settled
from slurm.submission.submission_state import SubmissionState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from slurm.protocol import Block, Refused, Submitted


class GrowingState(SubmissionState):
    """A submission whose number of elements grows: it counts the elements that were queued so far."""

    elastic = True
    may_grow = True  # until the pool's files say otherwise
    _end_callbacks: tuple[Callable[[], object], ...] = ()

    def learn_records(self, submitted: Submitted | None, refused: Refused | None = None) -> None:
        """Record the scheduler's ids, also the ids of elements that were added."""
        super().learn_records(submitted, refused)
        if submitted is not None:
            self.queued(submitted.blocks)

    def queued(self, blocks: Iterable[Block]) -> None:
        """Record elements that were queued."""
        super().queued(blocks)
        with self._lock:
            if self._submitted is not None:
                first, last = (
                    self.elements,
                    max((block.first + block.count for block in self._submitted.blocks), default=0),
                )
                self.count = self.elements = last
                if self.listener and last > first:  # before a report of one of these elements
                    self.listener.grown(range(first, last))

    def learn_growth(self, blocks: Iterable[Block], *, may_grow: bool) -> Settled:
        """Record elements that were queued, and whether more may follow."""
        self.queued(blocks)
        closed, self.may_grow = self.may_grow and not may_grow, may_grow
        if self.listener and closed:
            self.listener.grown(range(self.elements, self.elements))
        return Settled(0, self._take_end_callbacks())

    @property
    def wanted(self) -> bool:
        """Whether anything waits for changes of the pool."""
        return super().wanted or bool(self._end_callbacks)

    @property
    def _has_ended(self) -> bool:
        """Whether all elements have ended, and none may be added. The caller holds the lock."""
        return not self.may_grow and len(self._done) + len(self._final.keys() - self._done) >= self.elements

    @property
    def wants_growth(self) -> bool:
        """Whether anything waits for added elements, and not only for the end of an element."""
        return bool(self._waiters or self._end_callbacks or self.listener)

    def add_end_callback(self, callback: Callable[[], object]) -> bool:
        """Keep a callback until the pool has ended; False if it has ended already."""
        with self._lock:
            if not self._has_ended:
                self._end_callbacks += (callback,)
                return True
        return False

    def remove_end_callback(self, callback: Callable[[], object]) -> None:
        """Drop a callback, if it is still kept."""
        with self._lock:
            self._end_callbacks = tuple(each for each in self._end_callbacks if each != callback)

    def _take_end_callbacks(self) -> tuple[Callable[[], object], ...]:
        with self._lock:
            due = self._end_callbacks if self._has_ended else ()
            self._end_callbacks = () if due else self._end_callbacks
        return due

    def _settle(self, elements: Collection[int]) -> Settled:
        count, due = super()._settle(elements)
        return Settled(count, [*due, *self._take_end_callbacks()])
