"""Faults: what the inline queue does wrong on request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from slurm.protocol.states import JobState

REQUEUE = "REQUEUE"
"""Not a final state: the attempt is lost, and the element runs again under its id."""


class Answer(str, Enum):
    """How a submit command answers."""

    REFUSED = "refused"
    """With an error; nothing is queued."""
    LATER = "later"
    """With an error that another attempt may not meet; nothing is queued."""
    SILENT = "silent"
    """With nothing, though the job is queued."""
    DROPPED = "dropped"
    """With nothing, and nothing is queued."""


@dataclass(frozen=True)
class Fault:
    """The end of one attempt of an element, in place of its own.

    It meets the next element to start that has this `task` name, this `element` and this `attempt`; None is any.
    """

    state: str
    """The word for a final state, such as "TIMEOUT", or `REQUEUE`."""
    task: str | None = None
    element: int | None = None
    attempt: int | None = None
    after_run: bool = False
    """Whether the call runs first, so that its result is there when the scheduler reports the failure."""
    reason: str = ""

    def __post_init__(self) -> None:
        if self.state != REQUEUE and not JobState.parse(self.state).final:
            message = f"{self.state!r} is not the end of an attempt: name a final state, such as 'TIMEOUT', or REQUEUE"
            raise ValueError(message)

    def __str__(self) -> str:
        asked = {"task": self.task, "element": self.element, "attempt": self.attempt}
        which = ", ".join(f"{name}={value!r}" for name, value in asked.items() if value is not None)
        return f"{self.state} ({which or 'any'})"

    def meets(self, *, task: str, element: int, attempt: int) -> bool:
        """Whether it is about this attempt."""
        found = {"task": task, "element": element, "attempt": attempt}
        return all(getattr(self, name) in (None, value) for name, value in found.items())
