"""States: compute the summary of a procedure from its events. These are pure functions without I/O."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.options.values import seconds
from slurm.procedures.errors import ProcedureError
from slurm.protocol import procedures as names
from slurm.protocol.procedures import INIT
from slurm.protocol.states import JobState
from slurm.runner.procedures.signatures import misfit_of_call
from slurm.views.status import error_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from slurm.protocol.procedures import ProcedureRecord, ScriptRecord
    from slurm.submission.status import JobStatus

    Event = Mapping[str, Any]


class ProcedureState(str, Enum):
    """The state of a procedure."""

    UNKNOWN = names.UNKNOWN
    IDLE = names.IDLE
    CREATING = names.CREATING
    PREP_ENV = names.PREP_ENV
    LOADING = names.LOADING
    INITIALISING = names.INITIALISING
    READY = names.READY
    RUNNING = names.RUNNING
    COMPLETE = names.COMPLETE
    STOPPED = names.STOPPED
    FAILED = names.FAILED

    @classmethod
    def of(cls, word: str) -> ProcedureState:
        """Return the state with a name, in upper or lower case. Raises ProcedureError for an unknown name."""
        try:
            return cls(str(word).upper())
        except ValueError:
            raise ProcedureError(f"{word!r} is no state of a procedure. The states: {', '.join(cls)}") from None

    @property
    def ended(self) -> bool:
        """Whether no process of the procedure runs, and none will run."""
        return self.value in names.ENDED

    def __str__(self) -> str:
        return self.value


class ProcedureHistory(NamedTuple):
    """The states that a procedure has had, each with its time in seconds since the epoch, and how its script failed."""

    process_states: list[tuple[ProcedureState, float]]
    stacktrace: str = ""

    @property
    def states(self) -> list[ProcedureState]:
        """The states without their times."""
        return [state for state, _ in self.process_states]

    def __repr__(self) -> str:
        return f"<history: {', '.join(map(str, self.states))}>"


class ProcedureInput:
    """The arguments of a call of a script's function: JSON values."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProcedureInput) and (self.args, self.kwargs) == (other.args, other.kwargs)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        words = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"ProcedureInput({', '.join(words)})"


class ArgCapture(NamedTuple):
    """A call of a function of a script: its name, its arguments, and the time in seconds since the epoch."""

    fn: str
    fn_args: ProcedureInput
    time: float | None = None


class ProcedureSummary(NamedTuple):
    """The facts about a procedure at one time."""

    id: int
    key: str
    script: ScriptRecord
    script_args: list[ArgCapture]
    """The calls of the script, in order, from `init` on."""
    history: ProcedureHistory
    reason: str
    """Why the procedure is in its state; "" if this is not known."""
    pending: str | None
    """The command that was sent but not executed yet: `start` or `stop`; None if there is none."""
    by: str
    """Who has prepared the procedure, as user@host."""
    ends_at: float | None = None
    """When the job reaches its time limit, in seconds since the epoch; None before it begins, or without a limit."""
    expected: float | None = None
    """The seconds that the script expects to take: its variable EXPECTED."""
    exclusive: str | None = None
    """The exclusive slot that the procedure holds while a function runs."""
    can_abort: bool = False
    """Whether the procedure has an abort script."""
    aborts: str | None = None
    """For an abort script, the key of the procedure that it aborts."""

    @property
    def state(self) -> ProcedureState:
        """The last state."""
        return self.history.states[-1]

    def facts(self) -> dict[str, Any]:
        """The facts as JSON values, without the text of the script, for the command line and the server."""
        return {
            "number": self.id,
            "key": self.key,
            "state": f"{self.state}",
            "reason": self.reason,
            "pending": self.pending,
            "ends_at": self.ends_at,
            "expected": self.expected,
            "exclusive": self.exclusive,
            "can_abort": self.can_abort,
            "aborts": self.aborts,
            "script": {name: value for name, value in self.script.to_json().items() if name != "text"},
            "by": self.by,
            "calls": [
                {"function": c.fn, "args": list(c.fn_args.args), "kwargs": dict(c.fn_args.kwargs), "time": c.time}
                for c in self.script_args
            ],
            "history": [{"state": f"{state}", "time": when} for state, when in self.history.process_states],
            "stacktrace": self.history.stacktrace,
        }

    def __repr__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"<procedure {self.id}: {self.state}{why}, {self.script.path}, {self.key}>"


def summary(
    number: int, record: ProcedureRecord, events: Sequence[Event], job: JobStatus | None = None
) -> ProcedureSummary:
    """Return the summary of a procedure from its events, and from the status of its job if that is given."""
    found, why = history(record.created, events), reason(events)
    if job is not None and job.state.final and not found.states[-1].ended:
        found = with_end(found, job)
        why = job.explanation or job.reason or error_of(job) or f"{job.state}"
    init = ArgCapture(INIT, ProcedureInput(*record.plan.init.args, **record.plan.init.kwargs), record.created)
    calls = [
        ArgCapture(str(e.get("function")), ProcedureInput(*e.get("args", ()), **e.get("kwargs", {})), e.get("time"))
        for e in events
        if e["event"] == "called"
    ]
    begun = next((event.get("time") for event in events if event.get("state") == names.LOADING), None)
    limit = seconds(str(record.options["time"])) if record.options.get("time") else None
    return ProcedureSummary(
        number,
        record.key,
        record.plan.script,
        [init, *calls],
        found,
        why,
        pending(events),
        record.by,
        ends_at=begun + limit if begun and limit else None,
        expected=next((event["expected"] for event in events if isinstance(event.get("expected"), (int, float))), None),
        exclusive=record.plan.exclusive,
        can_abort=record.abort is not None,
        aborts=record.aborts,
    )


def parse(data: bytes, begin: int = 0) -> Iterator[Event]:
    """Yield the events in complete lines, each with the byte `offset` of the end of its line. Skips damaged lines.

    `begin` is the offset of the data in the file.
    """
    for line in data.splitlines(keepends=True):
        begin += len(line)
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            yield {**event, "offset": begin}


def without_files(found: ProcedureSummary) -> ProcedureSummary:
    """Return the summary of a procedure whose files were removed, so that its end is no longer known."""
    last = (ProcedureState.UNKNOWN, found.history.process_states[-1][1])
    states = [*found.history.process_states, last]
    return found._replace(history=found.history._replace(process_states=states), reason="its files were removed")


def history(created: float, events: Iterable[Event]) -> ProcedureHistory:
    """Return the history from events, without facts that only the scheduler knows."""
    states, stacktrace = [(ProcedureState.CREATING, created)], ""
    for event in events:
        if event["event"] == "state":
            states.append((_state(event), float(event.get("time", 0.0))))
        elif event["event"] == "raised":
            stacktrace = str(event.get("stacktrace", ""))
    return ProcedureHistory(states, stacktrace)


def with_end(found: ProcedureHistory, job: JobStatus) -> ProcedureHistory:
    """Add the end of a procedure that could not record its end, because it was killed or never began."""
    if found.states[-1].ended or not job.state.final:
        return found
    end = ProcedureState.STOPPED if job.state is JobState.CANCELLED else ProcedureState.FAILED
    when = job.outcome.ended if job.outcome and job.outcome.ended else found.process_states[-1][1]
    return found._replace(process_states=[*found.process_states, (end, when)])


def reason(events: Iterable[Event]) -> str:
    """Return why a procedure is in its state, from the last event with a state; "" if the event has no reason."""
    found = ""
    for event in events:
        if event["event"] == "state":
            found = str(event.get("reason", ""))
    return found


def pending(events: Iterable[Event]) -> str | None:
    """Return the command that was sent but not executed yet, `start` or `stop`; None if there is none."""
    found: str | None = None
    for event in events:
        kind = event["event"]
        if kind == "stopping":
            found = "stop"
        elif kind == "queued" and found is None:
            found = "start"
        elif (kind == "called" and found == "start") or event.get("state") in names.ENDED:
            found = None
    return found


def abort_key(events: Sequence[Event]) -> str | None:
    """Return the key of the procedure of the abort script; None before that is prepared."""
    return next((event["abort"] for event in reversed(events) if isinstance(event.get("abort"), str)), None)


def abort_number(events: Sequence[Event]) -> int | None:
    """Return the number of the procedure of the abort script; None before that is prepared."""
    return next((event["abort_id"] for event in reversed(events) if isinstance(event.get("abort_id"), int)), None)


def misfit_of(events: Iterable[Event], command: Mapping[str, Any]) -> str:
    """Return why the script cannot make the call of a command; "" if it can, or if its functions are not known yet."""
    functions = next((event["functions"] for event in events if isinstance(event.get("functions"), dict)), None)
    return "" if functions is None else misfit_of_call(functions, command)


def answer(events: Iterable[Event], command: int, *, begun: bool = False) -> Event | None:
    """Return the answer of a procedure to a command: called, queued, refused or stopping; None without an answer.

    With `begun`, return only the answer that the call has begun.
    """
    kinds = ("called",) if begun else ("called", "queued", "refused", "stopping")
    return next((event for event in events if event.get("command") == command and event["event"] in kinds), None)


def end_of_call(events: Iterable[Event], command: int) -> Event | None:
    """Return the event that ended the call of a command; None if the call has not ended."""
    kinds = ("returned", "raised", "refused")
    return next((event for event in events if event.get("command") == command and event["event"] in kinds), None)


def _state(event: Event) -> ProcedureState:
    try:
        return ProcedureState(event.get("state"))
    except ValueError:  # written by a newer version
        return ProcedureState.UNKNOWN
