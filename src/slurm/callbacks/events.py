"""Events: what hooks are told, each a frozen record.

A node imports this module, and only where a submission has callbacks.
"""

from __future__ import annotations

from slurm.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from slurm.protocol import Outcome


class Event(Record):
    """What every event tells."""

    hook = ""
    """The method that is given it."""

    key: str
    """The submission, as `cluster.job(key)` takes it."""
    task: str
    """The function's name."""
    time: float
    """Seconds since the epoch, by the clock of where it happened."""


# On the client.


class ClientEvent(Event):
    """What every event on the client tells of a submission."""

    url: str
    """The cluster's."""


class SubmitEvent(ClientEvent):
    """A submission has been queued."""

    hook = "on_submit"

    count: int
    """How many calls."""
    elements: int
    """How many elements of an array make them."""
    mapped: bool
    """Whether it was a map, of however many, rather than one call."""
    job_ids: tuple[str, ...]
    """The scheduler's."""
    directory: str
    options: Mapping[str, Any]
    """All that count, by their names."""


class StateEvent(ClientEvent):
    """Elements were seen to be in another state than before."""

    hook = "on_state"

    states: Mapping[str, int]
    """How many elements are in each state now."""
    changed: Mapping[int, str]
    """The elements that changed, by number, and their states."""


class CompleteEvent(ClientEvent):
    """An element has ended."""

    hook = "on_complete"

    index: int
    """The call's place in its submission; of an element that makes several, the first's."""
    calls: int
    """How many calls it made."""
    state: str
    """A `JobState`."""
    outcome: Outcome | None = None
    """What it left; None if it left nothing."""


class ProgressEvent(ClientEvent):
    """A task has told how far it is."""

    hook = "on_progress"

    index: int
    attempt: int
    done: float
    total: float | None = None
    metrics: Mapping[str, Any]
    """What it named besides."""


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

    hook = "on_run_begin"


class WorkflowBeginEvent(NodeEvent):
    """A workflow's function is about to be called."""

    hook = "on_workflow_begin"


class WorkflowEndEvent(NodeEvent):
    """A workflow's function has returned or raised; nothing is saved yet."""

    hook = "on_workflow_end"

    error: str | None = None
    """What it raised, as "ValueError: …"."""


class RunEndEvent(NodeEvent):
    """An attempt has ended, and what came of it is saved."""

    hook = "on_run_end"

    outcome: Outcome
    """What is in `outcomes/`, or in `attempts/` where the element may go on in another attempt."""


class CompletedEvent(NodeEvent):
    """An element has ended for good: it has its outcome."""

    hook = "on_completed"

    outcome: Outcome


NODE_EVENTS: dict[str, type[NodeEvent]] = {
    kind.hook: kind for kind in (RunBeginEvent, WorkflowBeginEvent, WorkflowEndEvent, RunEndEvent, CompletedEvent)
}
"""The hooks that a node calls, and what each is told."""
