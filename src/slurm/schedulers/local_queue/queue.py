"""Queue: the submissions to the local scheduler, and which elements may start under the limit of CPUs. Does no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.protocol.ranges import numbers, ranges
from slurm.schedulers.local_queue import wire
from slurm.schedulers.local_queue.messages import Row
from slurm.schedulers.local_queue.notes import STATUS_UNKNOWN, FinalState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from slurm.schedulers.local_queue.messages import Submission

CANCELLED = FinalState("CANCELLED", "")
NEVER = FinalState("CANCELLED", wire.NEVER_SATISFIED)
_COMPLETED = "COMPLETED"
_UNKNOWN = FinalState(_COMPLETED, STATUS_UNKNOWN)


class Batch:
    """The elements of one submission: pending, running and finished tasks, and their dependencies."""

    def __init__(self, id_: str, submission: Submission) -> None:
        self.id = id_
        self.submission = submission
        self.tasks = numbers(submission.tasks)
        self._pending: dict[int, None] = dict.fromkeys(self.tasks)
        self._running: set[int] = set()
        self.held: set[int] = set()
        """Pending tasks that must not start until they are released."""
        self._finished: dict[int, FinalState] = {}
        """Final states of tasks, in the order in which they finished."""
        self._order: list[int] = []
        """The keys of `_finished`, for slices."""
        self._failed = self._unknown = 0
        self._elementwise = "aftercorr" in submission.dependencies
        self._open = not submission.dependencies
        """Whether the dependencies that all tasks share are satisfied."""
        self._ready: dict[int, None] = {}
        """Tasks that may start, if each task waits for a counterpart."""
        self._seen: dict[str, int] | None = None
        """The number of finished tasks of each upstream that `_ready` includes."""

    @property
    def over(self) -> bool:
        """Whether all tasks have finished."""
        return not self._pending and not self._running

    def pending(self, tasks: Collection[int] | None = None) -> list[int]:
        """The pending tasks among `tasks`, or among all tasks."""
        return [task for task in self._pending if tasks is None or task in tasks]

    def running(self, tasks: Collection[int] | None = None) -> list[int]:
        """The running tasks among `tasks`, or among all tasks."""
        return [task for task in self._running if tasks is None or task in tasks]

    def rows(self, reason: str = wire.RESOURCES) -> list[Row]:
        """A row for each combination of state and reason. `reason` is given for tasks that wait only for CPUs."""
        reason = wire.TASK_LIMIT if self._is_full else reason
        waiting = self._pending.keys() - self.held
        ready = waiting & self._ready.keys() if self._elementwise else waiting if self._open else set[int]()
        groups: dict[FinalState, list[int]] = {}
        for task, final in self._finished.items():
            groups.setdefault(final, []).append(task)
        states = (
            (FinalState("PENDING", reason), ready),
            (FinalState("PENDING", wire.DEPENDENCY), waiting - ready),
            (FinalState("PENDING", wire.HELD), self._pending.keys() & self.held),
            (FinalState("RUNNING", ""), self._running),
        )
        return [Row(self.id, ranges(tasks), *state) for state, tasks in (*states, *groups.items()) if tasks]

    def start(self, task: int) -> None:
        """Record that a pending task has started."""
        del self._pending[task]
        self._ready.pop(task, None)
        self._running.add(task)

    def put_back(self, task: int) -> None:
        """Record that a task could not start: it becomes the first pending task again."""
        self._running.discard(task)
        self._pending = {task: None, **self._pending}
        self._seen = None  # check all tasks again

    def finish(self, task: int, final: FinalState) -> None:
        """Record that a task has finished. The first record counts."""
        if task in self._finished:
            return
        self._pending.pop(task, None)
        self._ready.pop(task, None)
        self._running.discard(task)
        self._finished[task] = final
        self._order.append(task)
        self._failed += final.state != _COMPLETED
        self._unknown += final == _UNKNOWN

    @property
    def _is_full(self) -> bool:
        """Whether as many tasks run as may run at a time."""
        return len(self._running) >= (self.submission.max_concurrent or len(self.tasks))

    def next_ready(self) -> int | None:
        """The first task that may start now, if any, according to the last `settle`."""
        if self._is_full:
            return None
        some = self._ready if self._elementwise else self._pending if self._open else ()
        return next((task for task in some if task not in self.held), None) if self.held else next(iter(some), None)

    def settle(self, batches: Mapping[str, Batch]) -> list[int]:
        """Find the tasks that may start. Returns tasks that can never run because a dependency failed."""
        dependencies = self.submission.dependencies
        if not dependencies or not self._pending:
            return []
        shared = _all(
            _satisfied(kind, name, None, batches)
            for kind, names in dependencies.items()
            if kind != "aftercorr"
            for name in names
        )
        self._open = shared is True
        if shared is not True or not self._elementwise:
            return list(self._pending) if shared is False else []
        return self._settle_each(dependencies["aftercorr"], batches)

    def _settle_each(self, upstream: Sequence[str], batches: Mapping[str, Batch]) -> list[int]:
        """`settle` for tasks that wait for counterparts; checks only those that finished since the last call."""
        orders = {id_: batches[id_]._order for id_ in upstream if id_ in batches}  # noqa: SLF001 - of this class
        if self._seen is None or self._seen.keys() - orders.keys():
            changed: Iterable[int] = tuple(self._pending)
        else:
            changed = sorted({task for id_, order in orders.items() for task in order[self._seen[id_] :]})
        self._seen = {id_: len(order) for id_, order in orders.items()}
        never = []
        for task in changed:
            if task in self._pending:
                satisfied = _all(_satisfied("aftercorr", id_, task, batches) for id_ in upstream)
                if satisfied:
                    self._ready[task] = None
                elif satisfied is False:
                    never.append(task)
        return never

    def succeeded(self, task: int | None, *, otherwise: bool) -> bool | None:
        """Whether one task, or all, succeeded; None if unfinished; `otherwise` if the exit status is unknown."""
        if task is None:
            if not self.over:
                return None
            return False if self._failed else otherwise if self._unknown else True
        if task in self._pending or task in self._running:
            return None
        final = self._finished.get(task, FinalState(_COMPLETED, ""))
        return otherwise if final == _UNKNOWN else final.state == _COMPLETED


class Queue:
    """First in, first out, limited by the number of CPUs."""

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.batches: dict[str, Batch] = {}
        self.ids: dict[str, str] = {}
        """Ids by the tokens of their submissions."""

    def add(self, id_: str, submission: Submission) -> Batch:
        """Add a submission at the end."""
        batch = self.batches[id_] = Batch(id_, submission)
        self.ids[submission.token] = id_
        return batch

    def cpus_of(self, batch: Batch) -> int:
        """CPUs of one element, at most as many as the machine has."""
        return min(batch.submission.cpus, self.cpus)

    def settle(self) -> list[tuple[Batch, list[int]]]:
        """Find elements that may start. Returns elements that can never run: finish them and call this method again."""
        found = [(batch, batch.settle(self.batches)) for batch in self.batches.values()]
        return [(batch, tasks) for batch, tasks in found if tasks]

    def next_ready(self) -> tuple[Batch, int] | None:
        """The next element that may start, in submission order. An element that waits for CPUs blocks later ones."""
        for batch in self.batches.values():
            task = batch.next_ready()
            if task is not None:
                used = sum(self.cpus_of(other) * len(other.running()) for other in self.batches.values())
                return (batch, task) if self.cpus_of(batch) <= self.cpus - used else None
        return None

    def forget(self, id_: str) -> None:
        """Remove a finished submission."""
        batch = self.batches.pop(id_)
        self.ids.pop(batch.submission.token, None)

    def rows(self, ids: Iterable[str]) -> list[Row]:
        """States of ids. Of the tasks that wait for CPUs, those of the first submission have the reason Resources."""
        first = next((batch for batch in self.batches.values() if batch.next_ready() is not None), None)
        found = (self.batches[id_] for id_ in ids if id_ in self.batches)
        return [row for each in found for row in each.rows(wire.RESOURCES if each is first else wire.PRIORITY)]

    @property
    def busy(self) -> bool:
        """Whether any element is pending or running."""
        return any(not batch.over for batch in self.batches.values())


def next_id(last: int, now: float) -> int:
    """Return a new id: milliseconds since 1970, and at least one more than the last.

    So ids are not repeated if the last one was lost with the directory, after a restart of the machine.
    """
    return max(last + 1, int(now * 1000))


def _all(answers: Iterable[bool | None]) -> bool | None:
    """Return False if any answer is False, else None if any is None, else True."""
    found = set(answers)
    return False if False in found else None if None in found else True


def _satisfied(kind: str, name: str, task: int | None, batches: Mapping[str, Batch]) -> bool | None:
    """Whether a dependency is satisfied, as in sbatch(1) for --dependency; None if it is not decided yet.

    Forgotten ids and unknown exit statuses satisfy dependencies: the runner checks the outcomes.
    """
    id_, _, index = name.partition("_")
    if id_ not in batches:
        return True
    which = task if kind == "aftercorr" else int(index) if index else None
    wants_failure = kind == "afternotok"
    succeeded = batches[id_].succeeded(which, otherwise=not wants_failure)
    if succeeded is None:
        return None
    return kind == "afterany" or succeeded != wants_failure
