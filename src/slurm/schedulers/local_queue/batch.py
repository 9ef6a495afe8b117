"""Batch: the elements of one submission to the local scheduler, and what they wait for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from slurm.schedulers.local_queue.element import Element

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PENDING, _RUNNING, _COMPLETED, _CANCELLED = "PENDING", "RUNNING", "COMPLETED", "CANCELLED"


class Batch:
    """One submission: a state for each task, and the tasks that still wait, the first one last."""

    def __init__(self, id_: str, request: dict[str, Any]) -> None:
        self.id = id_
        self.cpus: int = request["cpus"]
        self.comment: str = request.get("comment", "")
        self._request = request
        self._states: dict[int, str] = dict.fromkeys(request["tasks"], _PENDING)
        self._reasons: dict[int, str] = {}
        self._waiting: list[int] = list(reversed(request["tasks"]))
        self._running = 0
        self._elementwise = any(kind == "aftercorr" for kind, _ in request["dependencies"])
        self.ended_at: float | None = None

    @classmethod
    def of_adopted(cls, id_: str, running: Iterable[Element]) -> Batch:
        """What is left of a submission whose supervisor is gone: the tasks that run."""
        tasks = [element.task for element in running if element.batch == id_]
        batch = cls(id_, {"tasks": tasks, "cpus": 1, "max_concurrent": None, "dependencies": []})
        batch._states, batch._waiting, batch._running = dict.fromkeys(tasks, _RUNNING), [], len(tasks)
        return batch

    @property
    def pending(self) -> bool:
        """Whether any task still waits."""
        return bool(self._waiting)

    def rows(self) -> list[list[Any]]:
        """Id, tasks, state and reason, a row for each state and reason that some task has."""
        groups: dict[tuple[str, str], list[int]] = {}
        for task, state in self._states.items():
            reason = self._reasons.get(
                task, "Dependency" if state == _PENDING and self._request["dependencies"] else ""
            )
            groups.setdefault((state, reason), []).append(task)
        return [[self.id, tasks, state, reason] for (state, reason), tasks in groups.items()]

    def next_ready(self, batches: Mapping[str, Batch]) -> int | None:
        """The first task that may start now, if one may; those that never can are cancelled on the way."""
        if self._running >= (self._request["max_concurrent"] or len(self._states)):
            return None
        for position in range(len(self._waiting) - 1, -1, -1):
            task = self._waiting[position]
            verdict = self._verdict(task, batches)
            if verdict:
                return task
            if verdict is False:
                del self._waiting[position]
                self.end(task, _CANCELLED, "DependencyNeverSatisfied")
            elif not self._elementwise:
                return None  # all tasks wait for the same
        return None

    def _verdict(self, task: int, batches: Mapping[str, Batch]) -> bool | None:
        """Whether the task's dependencies are satisfied: True, False for never, None for not yet."""
        satisfied: bool | None = True
        for kind, names in self._request["dependencies"]:
            for name in names:
                state = _upstream(kind, name, task, batches)
                if state is False:
                    return False
                satisfied = satisfied and state
        return satisfied

    def start(self, task: int, cpus: int, place: str) -> Element:
        """Start a task as a process of its own."""
        position = next(at for at in range(len(self._waiting) - 1, -1, -1) if self._waiting[at] == task)
        del self._waiting[position]
        self._running += 1
        self._states[task] = _RUNNING
        return Element.start(self.id, task, self._request, cpus, place)

    def end(self, task: int, state: str, reason: str = "") -> None:
        """Record how a task ended."""
        self._running -= self._states[task] == _RUNNING
        self._states[task], self._reasons[task] = state, reason
        if not self._waiting and not self._running:
            self.ended_at = time.monotonic()
            self._request["environ"] = {}  # it may be large, and is not needed any more

    def cancel_pending(self, tasks: list[int] | None) -> None:
        """Cancel tasks that haven't started."""
        gone = set(self._waiting) if tasks is None else set(self._waiting) & set(tasks)
        self._waiting = [task for task in self._waiting if task not in gone]
        for task in gone:
            self.end(task, _CANCELLED)

    def ended(self, task: int | None) -> str | None:
        """How one task, or all, ended: COMPLETED, or another state for a failure; None if not yet."""
        states = set(self._states.values()) if task is None else {self._states.get(task, _COMPLETED)}
        if states & {_PENDING, _RUNNING}:
            return None
        return _COMPLETED if states <= {_COMPLETED} else "FAILED"


def _upstream(kind: str, name: str, task: int, batches: Mapping[str, Batch]) -> bool | None:
    """As sbatch(1) has it for --dependency; an id that is forgotten holds nobody up, and the runner checks again."""
    id_, _, index = name.partition("_")
    if id_ not in batches:
        return True
    which = task if kind == "aftercorr" else int(index) if index else None
    ended = batches[id_].ended(which)
    if ended is None:
        return None
    return kind == "afterany" or (ended == _COMPLETED) == (kind != "afternotok")
