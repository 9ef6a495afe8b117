"""Watching: the statuses of jobs that the tracker follows, as soon as the tracker knows them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from slurm.views.status import of_ended, statuses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from slurm.submission.status import JobStatus
    from slurm.views.status import Part


class Watch:
    """Follows the calls of some parts: the tracker lists outcomes and queries the scheduler, as for a wait.

    Use an instance in a `with` statement: the tracker follows the calls until the end of its block.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        self._ended: list[dict[int, JobStatus]] = []
        self._followed = ExitStack()

    def __enter__(self) -> Self:
        """Query all calls once, and follow those that have not ended. Raises SchedulerError."""
        for part, found in zip(self.parts, statuses(self.parts), strict=True):
            pairs = zip(part.indices, found, strict=True)
            self._ended.append({index: status for index, status in pairs if part.state.finished(index)})
            if _may_grow(part) or len(self._ended[-1]) < len(part.indices):
                self._followed.enter_context(part.state.waiting())
                part.place.tracker.follow(part.state)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop following."""
        self._followed.close()

    @property
    def ended(self) -> bool:
        """Whether all calls had ended at the last `read`, and no elements may be added."""
        pairs = zip(map(_grown, self.parts), self._ended, strict=True)
        return all(len(ended) == len(part.indices) and not _may_grow(part) for part, ended in pairs)

    def read(self) -> list[list[JobStatus]]:
        """Return the status of each call of each part. Reads new outcomes, with one command for each cluster.

        After this, `parts` include the elements that were added to elastic pools.
        """
        self.parts = list(map(_grown, self.parts))
        new = [
            part._replace(indices=[i for i in part.indices if i not in ended and part.state.finished(i)])
            for part, ended in zip(self.parts, self._ended, strict=True)
        ]
        if any(part.indices for part in new):
            for part, ended, found in zip(new, self._ended, of_ended(new), strict=True):
                ended.update(zip(part.indices, found, strict=True))
        return [
            [ended.get(index) or part.state.status(index, None) for index in part.indices]
            for part, ended in zip(self.parts, self._ended, strict=True)
        ]


def _grown(part: Part) -> Part:
    """The part; if it is a whole elastic pool, with the elements that were added."""
    grows = part.state.elastic and isinstance(part.indices, range)
    return part._replace(indices=range(part.state.count)) if grows else part


def _may_grow(part: Part) -> bool:
    """Whether elements may be added to a part: it is a whole elastic pool, and not one of its elements."""
    return part.state.may_grow and isinstance(part.indices, range)
