"""Watching: the statuses of jobs that the tracker follows, as it learns them."""

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

    Use it in a `with`, which the tracker follows them in.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self._ended: list[dict[int, JobStatus]] = []
        self._followed = ExitStack()

    def __enter__(self) -> Self:
        """Query all calls once, and follow those that have not ended. Raises SchedulerError."""
        for part, found in zip(self.parts, statuses(self.parts), strict=True):
            pairs = zip(part.indices, found, strict=True)
            self._ended.append({index: status for index, status in pairs if part.state.finished(index)})
            if len(self._ended[-1]) < len(part.indices):
                self._followed.enter_context(part.state.waiting())
                part.place.tracker.follow(part.state)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop following."""
        self._followed.close()

    @property
    def ended(self) -> bool:
        """Whether all calls have ended, by the last `read`."""
        return all(len(ended) == len(part.indices) for part, ended in zip(self.parts, self._ended, strict=True))

    def read(self) -> list[list[JobStatus]]:
        """The status of each call of each part. Reads what has ended since the last time, by one command a cluster."""
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
