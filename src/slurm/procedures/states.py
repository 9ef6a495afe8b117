"""States: what the events of a procedure say about it. Pure: events in, a summary out."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.protocol import procedures as names
from slurm.protocol.states import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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

    @property
    def ended(self) -> bool:
        """Whether nothing of the procedure runs any more, and nothing ever will."""
        return self.value in names.ENDED

    def __str__(self) -> str:
        return self.value


class ProcedureHistory(NamedTuple):
    """The states that a procedure has had, each with its time in seconds since the epoch, and how its script failed."""

    process_states: list[tuple[ProcedureState, float]]
    stacktrace: str = ""

    @property
    def states(self) -> list[ProcedureState]:
        """The states alone."""
        return [state for state, _ in self.process_states]


def parse(data: bytes) -> Iterator[Event]:
    """Yield the events in whole lines. Damaged lines are skipped."""
    for line in data.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            yield event


def history(created: float, events: Iterable[Event]) -> ProcedureHistory:
    """Return the history that events tell, without what only the scheduler knows."""
    states, stacktrace = [(ProcedureState.CREATING, created)], ""
    for event in events:
        if event["event"] == "state":
            states.append((_state(event), float(event.get("time", 0.0))))
        elif event["event"] == "raised":
            stacktrace = str(event.get("stacktrace", ""))
    return ProcedureHistory(states, stacktrace)


def with_end(found: ProcedureHistory, job: JobStatus) -> ProcedureHistory:
    """Add the end of a procedure that could not say it: it was killed, or never began."""
    if found.states[-1].ended or not job.state.final:
        return found
    end = ProcedureState.STOPPED if job.state is JobState.CANCELLED else ProcedureState.FAILED
    when = job.outcome.ended if job.outcome and job.outcome.ended else found.process_states[-1][1]
    return found._replace(process_states=[*found.process_states, (end, when)])


def reason(events: Iterable[Event]) -> str:
    """Why a procedure is in its state, as its last event of a state tells; "" if it does not."""
    found = ""
    for event in events:
        if event["event"] == "state":
            found = str(event.get("reason", ""))
    return found


def pending(events: Iterable[Event]) -> str | None:
    """What was asked for and has not happened: `start` or `stop`."""
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


def abort_key(events: Iterable[Event]) -> str | None:
    """Return the key of the procedure of the abort script, once that is prepared."""
    keys = [event.get("abort") if event["event"] != "abort" else event.get("key") for event in events]
    return next((key for key in reversed(keys) if isinstance(key, str)), None)


def answer(events: Iterable[Event], command: int) -> Event | None:
    """Return what a procedure has answered to a command: that it calls the function, keeps it for later, or refuses."""
    kinds = ("called", "queued", "refused", "stopping")
    return next((event for event in events if event.get("command") == command and event["event"] in kinds), None)


def end_of_call(events: Iterable[Event], command: int) -> Event | None:
    """Return how a call that a command has started has ended."""
    kinds = ("returned", "raised", "refused")
    return next((event for event in events if event.get("command") == command and event["event"] in kinds), None)


def _state(event: Event) -> ProcedureState:
    try:
        return ProcedureState(event.get("state"))
    except ValueError:  # a newer version's
        return ProcedureState.UNKNOWN
