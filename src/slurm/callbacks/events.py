"""Events: the arguments of hooks, as frozen records.

A node imports this module only if the submission has callbacks.
"""

from __future__ import annotations

from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from slurm.protocol.outcomes import Outcome


class Event(Record):
    """The fields of every event."""

    hook = ""
    """The name of the hook that receives the event."""

    time: float
    """Seconds since the epoch, by the clock of the machine where the event happened."""

    def payload(self) -> dict[str, Any]:
        """Return the event as JSON values, without pickled exceptions; `event` is the hook name without `on_`."""
        fields = self.to_json()
        (fields.get("outcome", {}).get("error") or {}).pop("pickle", None)
        for failure in fields.get("outcome", {}).get("failures", ()):
            (failure.get("error") or {}).pop("pickle", None)
        return {"event": self.hook.removeprefix("on_"), **_finite(fields)}


def _finite(value: Any) -> Any:
    """Replace infinity and NaN by None, as JavaScript does: JSON cannot represent them, and a loss may be NaN."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, (list, tuple)) else value


# On the client.


class ClientEvent(Event):
    """The fields of every event on the client."""

    url: str
    """The URL of the cluster."""


class PackagingBeginEvent(ClientEvent):
    """An environment is about to be built by this process."""

    hook = "on_packaging_begin"

    environment: str
    """The environment's key, as in the submissions that use it."""


class PackagingEndEvent(PackagingBeginEvent):
    """The build of an environment has succeeded or failed."""

    hook = "on_packaging_end"

    error: str | None = None


class SubmissionEvent(ClientEvent):
    """The fields of every event of a submission on the client."""

    key: str
    """The submission's key, for `cluster.job(key)`."""
    task: str
    """The function's name."""
    mapped: bool
    """Whether a map made the submission, even a map of a single call."""


class SubmitEvent(SubmissionEvent):
    """A submission is queued."""

    hook = "on_submit"

    count: int
    """The number of calls."""
    elements: int
    """The number of array elements that make them."""
    job_ids: tuple[str, ...]
    """The scheduler's ids."""
    directory: str
    options: Mapping[str, Any]
    """All options in effect, by name."""


class StateEvent(SubmissionEvent):
    """Elements have changed their states."""

    hook = "on_state"

    states: Mapping[str, int]
    """The number of elements in each state now."""
    calls: Mapping[str, int]
    """The number of calls in each state now. Until an element has ended, its calls are counted in its state."""
    changed: Mapping[int, str]
    """The new states of the elements that changed, by element."""
    final: bool
    """Whether all elements have finished and, for an elastic pool, the pool is closed."""


class CompleteEvent(SubmissionEvent):
    """An element has finished."""

    hook = "on_complete"

    index: int
    """The call's index in its submission; for an element of several calls, the index of the first."""
    calls: int
    """The number of calls of the element."""
    state: str
    """The final state: the value of a `JobState`."""
    outcome: Outcome | None = None
    """The element's outcome; None if the element left no outcome."""

    @property
    def error(self) -> str | None:
        """The exception of the task, as "ValueError: …"; None if unknown."""
        return _error_text(self.outcome)

    @property
    def failed(self) -> bool:
        """Whether the element has no result."""
        return self.state != "COMPLETED"

    def __str__(self) -> str:
        """Return a readable line: "square COMPLETED (square/…[0])"."""
        error = f": {text}" if (text := self.error) else ""
        return f"{self.task} {self.state}{error} ({self.key}[{self.index}])"


class ProgressEvent(SubmissionEvent):
    """A task has reported its progress."""

    hook = "on_progress"

    index: int
    attempt: int
    done: float
    total: float | None = None
    metrics: Mapping[str, Any]
    """Additional values that the task reported, by name."""


# On the node. Each event belongs to one attempt of one element.


class NodeEvent(Event):
    """The fields of every event on a node."""

    key: str
    """The submission's key, for `cluster.job(key)`."""
    task: str
    """The function's name."""
    index: int
    """The call's index in its submission; for an element of several calls, the index of the first."""
    attempt: int
    """1, plus one for each requeue, retry, or stop at a checkpoint."""
    job_id: str | None
    host: str
    directory: str
    """The submission's directory."""

    @property
    def failed(self) -> bool:
        """Whether the event reports a failure."""
        return False

    def __str__(self) -> str:
        """Return a readable line: "square: run begin (square/…[0], id 17_0, on n1)"."""
        what = self.hook.removeprefix("on_").replace("_", " ")
        return f"{self.task}: {what} ({self.key}[{self.index}], id {self.job_id}, on {self.host})"


class RunBeginEvent(NodeEvent):
    """An attempt begins; its call is not loaded yet."""

    hook = "on_run_begin"


class WorkflowBeginEvent(NodeEvent):
    """A workflow's function is about to be called."""

    hook = "on_workflow_begin"


class WorkflowEndEvent(NodeEvent):
    """A workflow's function has returned or raised; its result is not saved yet."""

    hook = "on_workflow_end"

    error: str | None = None
    """The exception that the function raised, as "ValueError: …"; None if it returned."""

    @property
    def failed(self) -> bool:
        """Whether the event reports a failure."""
        return self.error is not None


class RunEndEvent(NodeEvent):
    """An attempt has finished, and its result or failure is saved."""

    hook = "on_run_end"

    outcome: Outcome
    """The record in `outcomes/`, or in `attempts/` if another attempt may follow."""

    @property
    def failed(self) -> bool:
        """Whether the event reports a failure."""
        return not self.outcome.succeeded

    def __str__(self) -> str:
        """Return a readable line: "square succeeded after 3 s (square/…[0], id 17_0, on n1)"."""
        outcome = self.outcome
        error = f": {text}" if (text := _error_text(outcome)) else ""
        seconds = max(0.0, outcome.ended - outcome.started) if outcome.ended and outcome.started else None
        duration = "" if seconds is None else f" after {seconds:.0f} s"
        where = f"{self.key}[{self.index}], id {self.job_id}, on {self.host}"
        return f"{self.task} {outcome.status}{duration}{error} ({where})"


class CompletedEvent(RunEndEvent):
    """An element has finished: it has its outcome, and no further attempt follows."""

    hook = "on_completed"


NODE_EVENTS: dict[str, type[NodeEvent]] = {
    kind.hook: kind for kind in (RunBeginEvent, WorkflowBeginEvent, WorkflowEndEvent, RunEndEvent, CompletedEvent)
}
"""The hooks on a node and the events that they receive."""


def _error_text(outcome: Outcome | None) -> str | None:
    error = outcome.error if outcome else None
    return f"{error.type}: {error.message}" if error else None
