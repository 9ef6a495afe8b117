"""Watched: what a process knows of one submission that it follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slurm.protocol import Submitted
    from slurm.schedulers.base import Report
    from slurm.states import JobState


class Ending(NamedTuple):
    """How an element ended that left no outcome: the state, and what the scheduler last said of it."""

    state: JobState
    report: Report | None


class Watched:
    """What is known of one submission: which elements have outcomes, and what the scheduler last said of the others."""

    def __init__(self, key: str, count: int, submitted: Submitted | None, *, mapped: bool) -> None:
        self.key, self.count, self.submitted, self.mapped = key, count, submitted, mapped
        self.done: set[int] = set()
        self.reports: dict[int, Report] = {}
        self.endings: dict[int, Ending] = {}
        self.missed_since: dict[int, float] = {}
        self.callbacks: dict[int, list[Callable[[], object]]] = {}
        self.waiters = 0

    def finished(self, index: int) -> bool:
        """Whether an element has ended, as far as is known here."""
        return index in self.done or index in self.endings

    @property
    def open(self) -> Iterable[int]:
        """The elements that have not ended, as far as is known here."""
        return (index for index in range(self.count) if not self.finished(index))

    @property
    def unfinished(self) -> bool:
        """Whether any element has not ended."""
        return len(self.done) + len(self.endings.keys() - self.done) < self.count

    @property
    def wanted(self) -> bool:
        """Whether anybody wants to know how it goes on."""
        return bool(self.waiters or self.callbacks)
