"""Batch: the elements of one submission to the local scheduler, and what they wait for. Nothing here does I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.schedulers.local_queue import wire
from slurm.schedulers.local_queue.messages import Row
from slurm.schedulers.local_queue.notes import STATUS_UNKNOWN, End
from slurm.schedulers.ranges import numbers, ranges

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from slurm.schedulers.local_queue.messages import Submission

CANCELLED = End("CANCELLED", "")
NEVER = End("CANCELLED", wire.NEVER_SATISFIED)
_COMPLETED = "COMPLETED"
_UNKNOWN = End(_COMPLETED, STATUS_UNKNOWN)


class Batch:
    """One submission: its tasks wait, run, or have ended."""

    def __init__(self, id_: str, submission: Submission) -> None:
        self.id = id_
        self.submission = submission
        self.tasks = numbers(submission.tasks)
        self._waiting: dict[int, None] = dict.fromkeys(self.tasks)
        self._running: set[int] = set()
        self._ends: dict[int, End] = {}
        self._order: list[int] = []
        """The tasks that have ended, in that order."""
        self._failed = self._unknown = 0
        self._elementwise = "aftercorr" in submission.dependencies
        self._open = not submission.dependencies
        """Whether what all tasks wait for is satisfied."""
        self._ready: dict[int, None] = {}
        """The tasks that may start, among those that each wait for a counterpart."""
        self._seen: dict[str, int] | None = None
        """The number of finished tasks of each upstream that `_ready` includes."""

    @property
    def pending(self) -> bool:
        """Whether any task still waits."""
        return bool(self._waiting)

    @property
    def over(self) -> bool:
        """Whether all tasks have finished."""
        return not self._waiting and not self._running

    def running(self, tasks: Collection[int] | None = None) -> list[int]:
        """Those of `tasks`, or of all, that run."""
        return [task for task in self._running if tasks is None or task in tasks]

    def rows(self) -> list[Row]:
        """A row for each combination of state and reason."""
        reason = "Dependency" if self.submission.dependencies else ""
        groups: dict[End, list[int]] = {}
        for task in self._order:
            groups.setdefault(self._ends[task], []).append(task)
        found = [(End("PENDING", reason), self._waiting), (End("RUNNING", ""), self._running), *groups.items()]
        return [Row(self.id, ranges(tasks), *state) for state, tasks in found if tasks]

    def start(self, task: int) -> None:
        """Record that a pending task has started."""
        del self._waiting[task]
        self._ready.pop(task, None)
        self._running.add(task)

    def put_back(self, task: int) -> None:
        """Record that a task could not start: it becomes the first pending task again."""
        self._running.discard(task)
        self._waiting = {task: None, **self._waiting}
        self._seen = None  # all are looked at again

    def end(self, task: int, end: End) -> None:
        """Record that a task has finished. The first record counts."""
        if task in self._ends:
            return
        self._waiting.pop(task, None)
        self._ready.pop(task, None)
        self._running.discard(task)
        self._ends[task] = end
        self._order.append(task)
        self._failed += end.state != _COMPLETED
        self._unknown += end == _UNKNOWN

    def waiting(self, tasks: Collection[int] | None = None) -> list[int]:
        """Those of `tasks`, or of all, that wait."""
        return [task for task in self._waiting if tasks is None or task in tasks]

    def next_ready(self) -> int | None:
        """The first task that may start now, if any, according to the last `settle`."""
        if len(self._running) >= (self.submission.max_concurrent or len(self.tasks)):
            return None
        return next(iter(self._ready if self._elementwise else self._waiting if self._open else ()), None)

    def settle(self, batches: Mapping[str, Batch]) -> list[int]:
        """Find the tasks that may start. Returns tasks that can never run, because a dependency failed."""
        dependencies = self.submission.dependencies
        if not dependencies or not self._waiting:
            return []
        shared = _all(
            _upstream(kind, name, None, batches)
            for kind, names in dependencies.items()
            if kind != "aftercorr"
            for name in names
        )
        self._open = shared is True
        if shared is not True or not self._elementwise:
            return list(self._waiting) if shared is False else []
        return self._settle_each(dependencies["aftercorr"], batches)

    def _settle_each(self, upstream: Sequence[str], batches: Mapping[str, Batch]) -> list[int]:
        """`settle` for tasks that wait for counterparts; reads only those that finished since the last call."""
        orders = {id_: batches[id_]._order for id_ in upstream if id_ in batches}  # noqa: SLF001 - of this very class
        if self._seen is None or self._seen.keys() - orders.keys():
            touched: Iterable[int] = tuple(self._waiting)
        else:
            touched = sorted({task for id_, order in orders.items() for task in order[self._seen[id_] :]})
        self._seen = {id_: len(order) for id_, order in orders.items()}
        never = []
        for task in touched:
            if task in self._waiting:
                verdict = _all(_upstream("aftercorr", id_, task, batches) for id_ in upstream)
                if verdict:
                    self._ready[task] = None
                elif verdict is False:
                    never.append(task)
        return never

    def succeeded(self, task: int | None, *, otherwise: bool) -> bool | None:
        """Whether one task, or all, have completed; None if unfinished; `otherwise` if that is unknown."""
        if task is None:
            if not self.over:
                return None
            return False if self._failed else otherwise if self._unknown else True
        if task in self._waiting or task in self._running:
            return None
        end = self._ends.get(task, End(_COMPLETED, ""))
        return otherwise if end == _UNKNOWN else end.state == _COMPLETED


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    """False if any is; else None if any is; else True."""
    found = set(verdicts)
    return False if False in found else None if None in found else True


def _upstream(kind: str, name: str, task: int | None, batches: Mapping[str, Batch]) -> bool | None:
    """As sbatch(1) has it for --dependency.

    An id that is forgotten, and an end that nobody has seen, hold nobody up: the runner looks at the outcomes.
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
