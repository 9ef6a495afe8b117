"""Queue: the pending and running elements, and which may start under the limit of CPUs. Does no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.schedulers.local_queue.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurm.schedulers.local_queue.messages import Row, Submission
    from slurm.schedulers.local_queue.notes import End


class Queue:
    """First in, first out, limited by the number of CPUs."""

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.batches: dict[str, Batch] = {}
        self._by_token: dict[str, str] = {}
        self._used = 0

    def add(self, id_: str, submission: Submission) -> Batch:
        """Add a submission at the end."""
        batch = self.batches[id_] = Batch(id_, submission)
        self._by_token[submission.token] = id_
        return batch

    def id_of(self, token: str) -> str | None:
        """The id of the submission that came with a token."""
        return self._by_token.get(token)

    def cpus_of(self, batch: Batch) -> int:
        """CPUs of one of its elements, at most as many as the machine has."""
        return min(batch.submission.cpus, self.cpus)

    def settle(self) -> list[tuple[Batch, list[int]]]:
        """Find elements that may start. Returns elements that can never run; call again once they are ended."""
        found = [(batch, batch.settle(self.batches)) for batch in self.batches.values()]
        return [(batch, tasks) for batch, tasks in found if tasks]

    def next_ready(self) -> tuple[Batch, int] | None:
        """The next element that may start, in submission order. One that waits for CPUs blocks later ones."""
        for batch in self.batches.values():
            task = batch.next_ready()
            if task is not None:
                return (batch, task) if self.cpus_of(batch) <= self.cpus - self._used else None
        return None

    def start(self, batch: Batch, task: int) -> None:
        """Record that an element has started."""
        batch.start(task)
        self._used += self.cpus_of(batch)

    def put_back(self, batch: Batch, task: int) -> None:
        """Record that an element could not start."""
        self._used -= self.cpus_of(batch)
        batch.put_back(task)

    def end(self, batch: Batch, task: int, end: End) -> None:
        """Record that an element has finished."""
        if batch.running((task,)):
            self._used -= self.cpus_of(batch)
        batch.end(task, end)

    def forget(self, id_: str) -> None:
        """Remove an id that no client needs any more."""
        batch = self.batches.pop(id_)
        self._by_token.pop(batch.submission.token, None)

    def rows(self, ids: Iterable[str]) -> list[Row]:
        """States of ids."""
        return [row for id_ in ids if id_ in self.batches for row in self.batches[id_].rows()]

    @property
    def busy(self) -> bool:
        """Whether any element is pending or running."""
        return any(not batch.over for batch in self.batches.values())


def next_id(last: int, now: float) -> int:
    """A new id: milliseconds since 1970, and at least one more than the last.

    So ids do not begin again where the last one was lost with the directory, after a restart of the machine.
    """
    return max(last + 1, int(now * 1000))
