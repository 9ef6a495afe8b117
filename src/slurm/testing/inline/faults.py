"""Faults: the failures that the inline queue plays on request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from slurm.protocol.states import JobState

REQUEUE = "REQUEUE"
"""Not a final state: the attempt is lost, and the element runs again under its id."""


class Answer(str, Enum):
    """The answer of a submit command, if it is not the id of the job."""

    REFUSED = "refused"
    """An error; nothing is queued."""
    LATER = "later"
    """A transient error, so that the client may try again; nothing is queued."""
    SILENT = "silent"
    """No answer, but the job is queued."""
    DROPPED = "dropped"
    """No answer, and nothing is queued."""


@dataclass(frozen=True)
class Fault:
    """A failure that replaces the real end of one attempt of an element.

    It applies to the next element to start that has this `task` name, `element` number and `attempt` number; None
    matches any.
    """

    state: str
    """The name of a final state, such as "TIMEOUT", or `REQUEUE`."""
    task: str | None = None
    element: int | None = None
    attempt: int | None = None
    after_run: bool = False
    """Whether the call runs first, so that its result exists when the scheduler reports the failure."""
    reason: str = ""

    def __post_init__(self) -> None:
        if self.state != REQUEUE and not JobState.parse(self.state).final:
            raise ValueError(
                f"{self.state!r} is not the end of an attempt: name a final state, such as 'TIMEOUT', or REQUEUE"
            )

    def __str__(self) -> str:
        asked = {"task": self.task, "element": self.element, "attempt": self.attempt}
        which = ", ".join(f"{name}={value!r}" for name, value in asked.items() if value is not None)
        return f"{self.state} ({which or 'any'})"

    def meets(self, *, task: str, element: int, attempt: int) -> bool:
        """Whether the failure applies to this attempt."""
        found = {"task": task, "element": element, "attempt": attempt}
        return all(getattr(self, name) in (None, value) for name, value in found.items())
