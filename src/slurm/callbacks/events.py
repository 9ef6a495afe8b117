"""Events: what hooks are told, each a frozen record.

A node imports this module, and only where a submission has callbacks.
"""

from __future__ import annotations

from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from slurm.protocol.outcomes import Outcome


class Event(Record):
    """What every event tells."""

    hook = ""
    """The method that is given it."""

    time: float
    """Seconds since the epoch, by the clock of where it happened."""

    def told(self) -> dict[str, Any]:
        """The event as what JSON can hold, without a pickled exception; `event` is the hook's name without `on_`."""
        fields = self.to_json()
        (fields.get("outcome", {}).get("error") or {}).pop("pickle", None)
        for failure in fields.get("outcome", {}).get("failures", ()):
            (failure.get("error") or {}).pop("pickle", None)
        return {"event": self.hook.removeprefix("on_"), **_finite(fields)}


def _finite(value: Any) -> Any:
    """The same with None for numbers that JSON doesn't have, as JavaScript has it: a loss may be NaN."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, (list, tuple)) else value


# On the client.


class ClientEvent(Event):
    """What every event on the client tells."""

    url: str
    """The cluster's."""


class PackagingBeginEvent(ClientEvent):
    """An environment isn't there yet, and this process makes it."""

    hook = "on_packaging_begin"

    environment: str
    """Its key, as the submissions that use it have it."""


class PackagingEndEvent(PackagingBeginEvent):
    """An environment was made, or couldn't be."""

    hook = "on_packaging_end"

    error: str | None = None


class SubmissionEvent(ClientEvent):
    """What every event on the client tells of a submission."""

    key: str
    """As `cluster.job(key)` takes it."""
    task: str
    """The function's name."""
    mapped: bool
    """Whether it was a map, of however many, rather than one call."""


class SubmitEvent(SubmissionEvent):
    """A submission has been queued."""

    hook = "on_submit"

    count: int
    """How many calls."""
    elements: int
    """How many elements of an array make them."""
    job_ids: tuple[str, ...]
    """The scheduler's."""
    directory: str
    options: Mapping[str, Any]
    """All that count, by their names."""


class StateEvent(SubmissionEvent):
    """Elements were seen to be in another state than before."""

    hook = "on_state"

    states: Mapping[str, int]
    """How many elements are in each state now."""
    changed: Mapping[int, str]
    """The elements that changed, by number, and their states."""
    final: bool
    """Whether all elements have ended."""


class CompleteEvent(SubmissionEvent):
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

    @property
    def error(self) -> str | None:
        """What the task raised, as "ValueError: …"; None where nothing is known."""
        return _words(self.outcome)

    @property
    def failed(self) -> bool:
        """Whether it has no result."""
        return self.state != "COMPLETED"

    def __str__(self) -> str:
        """A line for people: "square COMPLETED (square/…[0])"."""
        error = f": {words}" if (words := self.error) else ""
        return f"{self.task} {self.state}{error} ({self.key}[{self.index}])"


class ProgressEvent(SubmissionEvent):
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

    key: str
    """The submission, as `cluster.job(key)` takes it."""
    task: str
    """The function's name."""
    index: int
    """The call's place in its submission; of an element that makes several, the first's."""
    attempt: int
    """1, and one more after each requeue, retry, or stop at a checkpoint."""
    job_id: str | None
    host: str
    directory: str
    """The submission's directory."""

    @property
    def failed(self) -> bool:
        """Whether it tells of a failure."""
        return False

    def __str__(self) -> str:
        """A line for people."""
        words = self.hook.removeprefix("on_").replace("_", " ")
        return f"{self.task}: {words} ({self.key}[{self.index}], id {self.job_id}, on {self.host})"


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

    @property
    def failed(self) -> bool:
        """Whether it tells of a failure."""
        return self.error is not None


class RunEndEvent(NodeEvent):
    """An attempt has ended, and what came of it is saved."""

    hook = "on_run_end"

    outcome: Outcome
    """What is in `outcomes/`, or in `attempts/` where the element may go on in another attempt."""

    @property
    def failed(self) -> bool:
        """Whether it tells of a failure."""
        return not self.outcome.succeeded

    def __str__(self) -> str:
        """A line for people: "square succeeded after 3 s (square/…[0], id 17_0, on n1)"."""
        outcome = self.outcome
        error = f": {words}" if (words := _words(outcome)) else ""
        seconds = max(0.0, outcome.ended - outcome.started) if outcome.ended and outcome.started else None
        lasted = "" if seconds is None else f" after {seconds:.0f} s"
        where = f"{self.key}[{self.index}], id {self.job_id}, on {self.host}"
        return f"{self.task} {outcome.status}{lasted}{error} ({where})"


class CompletedEvent(RunEndEvent):
    """An element has ended for good: it has its outcome."""

    hook = "on_completed"


NODE_EVENTS: dict[str, type[NodeEvent]] = {
    kind.hook: kind for kind in (RunBeginEvent, WorkflowBeginEvent, WorkflowEndEvent, RunEndEvent, CompletedEvent)
}
"""The hooks that a node calls, and what each is told."""


def _words(outcome: Outcome | None) -> str | None:
    error = outcome.error if outcome else None
    return f"{error.type}: {error.message}" if error else None
