"""Jobs of the inline queue, and their dependencies."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slurm.protocol.states import JobState
from slurm.schedulers.base import Dependency

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence


@dataclass(eq=False)
class Element:
    """One array task of a job, or the only element of a job that is not an array. The queue's lock protects it."""

    task: int
    state: JobState = JobState.PENDING
    reason: str = ""
    dependency_failed: bool = False
    exit_code: int | None = None
    began: bool = False
    """Whether the element has ever started."""
    restarts: int = 0
    requeue: bool = False
    """Whether the element runs again when this attempt has ended."""
    process: subprocess.Popen[bytes] | None = None
    forgotten: bool = False
    held: bool = False
    ended: float | None = None
    """When the element ended, by the monotonic clock."""

    def end(self, state: JobState, now: float, *, reason: str = "", exit_code: int | None = None) -> None:
        """Record a final state; the first one counts."""
        if not self.state.final:
            self.state, self.reason, self.exit_code, self.ended = state, reason, exit_code, now


@dataclass(eq=False)
class InlineJob:
    """One block, as the submit command has described it."""

    id: str
    script: str
    arguments: Sequence[str]
    comment: str
    log: str
    directory: str
    """The working directory of the client."""
    environ: Mapping[str, str]
    array: bool
    first: int
    attempts: int
    waits: bool
    most: int
    """The number of elements that may run at once."""
    after: Sequence[Dependency]
    elements: dict[int, Element] = field(default_factory=dict)

    @classmethod
    def parse(cls, id_: str, words: Sequence[str]) -> InlineJob:
        """Read the words of a submit command: a JSON document, then dependencies."""
        asked: dict[str, Any] = json.loads(words[0])
        tasks, _ = asked.pop("tasks"), asked.pop("options")
        pairs = (word.split("=") for word in words[1:])
        after = [Dependency(kind, tuple(ids.split(","))) for kind, ids in pairs]
        job = cls(id=id_, directory=os.getcwd(), after=after, **asked)
        job.elements = {task: Element(task) for task in tasks}
        return job

    @property
    def task_name(self) -> str:
        """The name of the task whose calls the job makes."""
        return self.comment.partition("/")[0]

    @property
    def is_retry_job(self) -> bool:
        """Whether the job is a retry job, which resubmits failed elements if no client does."""
        return self.comment.partition(" ")[0].endswith("~caretaker")

    def attempt(self, element: Element) -> int:
        """Return the number of an element's present attempt, from 1."""
        return self.attempts + element.restarts + 1

    def log_path(self, element: Element) -> str:
        """Return the path of the file for an element's output."""
        return self.log.replace("%%", "\0").replace("%a", str(element.task)).replace("\0", "%")

    def variables(self, element: Element) -> dict[str, str]:
        """Return the environment variables that the script of an element reads, as on Slurm."""
        array = {"SLURM_ARRAY_JOB_ID": self.id, "SLURM_ARRAY_TASK_ID": str(element.task)} if self.array else {}
        return {
            **self.environ,
            **array,
            "SLURM_JOB_ID": self.id,
            "SLURM_SUBMIT_DIR": self.directory,
            "SLURM_CPUS_ON_NODE": self.environ["SLURM_CPUS_PER_TASK"],
            **({"SLURM_RESTART_COUNT": str(element.restarts)} if element.restarts else {}),
        }


def readiness(job: InlineJob, element: Element, find: Callable[[str], InlineJob | None]) -> bool | None:
    """Whether the dependencies of an element are satisfied; None if they never will be.

    As on Slurm, a dependency on a job that the queue does not know is satisfied.
    """
    found = [_satisfied(item, element, find) for item in job.after]
    return None if None in found else all(found)


def _satisfied(item: Dependency, element: Element, find: Callable[[str], InlineJob | None]) -> bool | None:
    others: list[Element] = []
    for id_ in item.ids:
        number, _, task = id_.partition("_")
        upstream = find(number)
        if upstream is not None:
            wanted = task or (str(element.task) if item.kind == "aftercorr" else "")
            others += [e for e in upstream.elements.values() if wanted in ("", str(e.task))]
    good = [other.state is JobState.COMPLETED for other in others]
    ended = all(other.state.final for other in others)
    if item.kind in ("afterok", "aftercorr"):
        failed = any(other.state.final and not ok for other, ok in zip(others, good, strict=True))
        return None if failed else ended
    if item.kind == "afternotok" and ended and others and all(good):
        return None
    return ended
