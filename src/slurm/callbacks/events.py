"""Events: what hooks are told, each a frozen record.

A node imports this module, and only where a submission has callbacks.
"""

from __future__ import annotations

from slurm.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from slurm.protocol import Outcome


class Event(Record):
    """What every event tells."""

    key: str
    """The submission, as `cluster.job(key)` takes it."""
    task: str
    """The function's name."""
    time: float
    """Seconds since the epoch, by the clock of where the hook is called."""


# On the node. Each is of one element of a submission, in one attempt.


class NodeEvent(Event):
    """What every event on a node tells."""

    index: int
    """The call's place in its submission; of an element that makes several, the first's."""
    attempt: int
    """1, and one more after each requeue, retry, or stop at a checkpoint."""
    job_id: str | None
    host: str
    directory: str
    """The submission's directory."""


class RunBeginEvent(NodeEvent):
    """An attempt begins; nothing of the call is loaded yet."""


class WorkflowBeginEvent(NodeEvent):
    """A workflow's function is about to be called."""


class WorkflowEndEvent(NodeEvent):
    """A workflow's function has returned or raised; nothing is saved yet."""

    error: str | None = None
    """What it raised, as "ValueError: …"."""


class RunEndEvent(NodeEvent):
    """An attempt has ended, and what came of it is saved."""

    outcome: Outcome
    """What is in `outcomes/`, or in `attempts/` where the element may go on in another attempt."""


class CompletedEvent(NodeEvent):
    """An element has ended for good: it has its outcome."""

    outcome: Outcome


NODE_EVENTS: dict[str, type[NodeEvent]] = {
    "on_run_begin": RunBeginEvent,
    "on_workflow_begin": WorkflowBeginEvent,
    "on_workflow_end": WorkflowEndEvent,
    "on_run_end": RunEndEvent,
    "on_completed": CompletedEvent,
}
"""The hooks that a node calls, and what each is told."""
