"""Procedure: a handle of a procedure, in any process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.jobs.completion import TimeoutError as WaitTimeout
from slurm.jobs.job import Job
from slurm.procedures import states
from slurm.procedures.errors import CommandRefused, ProcedureError, ProcedureFailed
from slurm.procedures.event_file import EventFile
from slurm.procedures.states import ProcedureState
from slurm.protocol.procedures import MAIN
from slurm.sanitize.numbers import seconds_to_wait
from slurm.storage.inbox import message_record, send
from slurm.views.status import error_of, statuses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurm.places.place import Place
    from slurm.procedures.states import Event, ProcedureHistory
    from slurm.protocol.procedures import ProcedureRecord

_SHORTEST, _LONGEST, _FACTOR = 0.03, 0.25, 1.2
"""Seconds between two readings of events: the least, the most, and how fast they grow while nothing happens."""
_ANSWER_SECONDS = 60.0
_KILL_SECONDS = 10.0
"""A stop that is not confirmed so long after the grace makes the state UNKNOWN."""


class Procedure:
    """A script that was prepared. Attributes that are states read files, and may ask the scheduler."""

    def __init__(self, place: Place, number: int, record: ProcedureRecord) -> None:
        self._place, self.number, self.record = place, number, record

    @property
    def id(self) -> int:
        """Its number, which `service.procedure(number)` takes."""
        return self.number

    @property
    def key(self) -> str:
        """The key of its job."""
        return self.record.key

    @property
    def job(self) -> Job[Any]:
        """Its job, for logs, resources and what the scheduler knows."""
        return Job(self._place, self._place.registry.get(self.key), 0)

    # What has become of it.

    @property
    def state(self) -> ProcedureState:
        """Its state now."""
        return self.look().state

    @property
    def history(self) -> ProcedureHistory:
        """The states that it has had, with their times, and the traceback of its script."""
        return self.look().history

    def look(self) -> Snapshot:
        """Read its events, and ask for its job unless they tell its end."""
        file = self._events()
        file.read()
        return self._snapshot(file)

    def _snapshot(self, file: EventFile) -> Snapshot:
        found, why = states.history(self.record.created, file.events), states.reason(file.events)
        if not found.states[-1].ended:
            status = statuses([self.job.part])[0][0]
            if status.state.final:
                file.read()  # it may have said its end just now
                found, why = states.history(self.record.created, file.events), states.reason(file.events)
                if not found.states[-1].ended:
                    found = states.with_end(found, status)
                    why = status.explanation or status.reason or error_of(status) or f"{status.state}"
        return Snapshot(found, why, states.pending(file.events))

    def _events(self) -> EventFile:
        return EventFile(self._place.transport, self._place.store.directory(self.key))

    def events(self, *, follow: bool = False) -> Iterator[Event]:
        """Yield its events; with `follow`, also those to come, until it has ended."""
        file = self._events()
        if not follow:
            file.read()
            yield from file.events
            return
        for new in self._follow(file, None):
            yield from new

    def _follow(self, file: EventFile, timeout: float | None) -> Iterator[list[Event]]:
        """Yield new events as they come, until it has ended. Empty lists between them, so that the caller can leave."""
        ended, end = threading.Event(), None if timeout is None else time.monotonic() + timeout
        undo = self.job.when_finished(ended.set)
        pause = _SHORTEST
        try:
            while True:
                last = ended.is_set()
                new = file.read()
                yield new
                if last or (file.events and states.history(0.0, file.events).states[-1].ended):
                    return
                if end is not None and time.monotonic() > end:
                    raise WaitTimeout
                pause = _SHORTEST if new else min(_FACTOR * pause, _LONGEST)
                ended.wait(pause)
        finally:
            undo()

    def wait(self, state: str | ProcedureState | None = None, timeout: float | None = None) -> ProcedureState:
        """Wait until it is in a state, by default until it has ended. Returns its state.

        Raises ProcedureFailed if it ends without having been in that state, and TimeoutError.
        """
        wanted = None if state is None else _parsed(state)
        file, done = self._events(), False
        try:
            for _ in self._follow(file, seconds_to_wait(timeout)):
                had = states.history(self.record.created, file.events).states
                if done := wanted is not None and wanted in had and (had[-1] is wanted or not wanted.ended):
                    break
        except WaitTimeout:
            message = (
                f"procedure {self.number} is {self._snapshot(file).state} and not {wanted or 'ended'} after {timeout} s"
            )
            raise WaitTimeout(message) from None
        if done and wanted is not None:
            return wanted
        found = self._snapshot(file)
        if wanted is not None and found.state is not wanted:
            raise self._failure(found, f"it was never {wanted}")
        return found.state

    def result(self, timeout: float | None = None) -> Any:
        """Wait for its end; return what `main` has returned. Raises ProcedureFailed, TimeoutError."""
        self.wait(None, timeout)
        found = self.look()
        if found.state is not ProcedureState.COMPLETE:
            raise self._failure(found, "main did not return")
        return self.job.result()

    def _failure(self, found: Snapshot, what: str) -> ProcedureFailed:
        why = f" ({found.reason})" if found.reason else ""
        message = f"procedure {self.number} ended {found.state}{why}: {what}. Its log: {self.job.log_path}"
        return ProcedureFailed(message, stacktrace=found.history.stacktrace)

    # Commands.

    def start(self, function: str = MAIN, /, *args: Any, force_start: bool = False, **kwargs: Any) -> int:
        """Call a function of the script with JSON values; return the number of the command once the script begins.

        `main` ends the procedure when it returns, any other function makes it READY again. With `force_start`, a
        procedure that is not READY yet calls it when it is. Raises CommandRefused.
        """
        file = self._events()
        file.read()
        if not force_start and not file.events:
            raise CommandRefused(self._not_ready(self._snapshot(file).state))
        number = self._send(
            {"command": "start", "function": function, "args": args, "kwargs": kwargs, "force": force_start}
        )
        if not force_start:
            self._await_answer(file, number)
        return number

    def run(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function of the script, wait for its end, and return its value. Raises CommandRefused, ProcedureFailed."""
        number = self.start(function, *args, **kwargs)
        file = self._events()
        for _ in self._follow(file, None):
            if event := states.end_of_call(file.events, number):
                if event["event"] == "returned":
                    return event.get("value", event.get("repr"))
                break
        raise self._failure(self._snapshot(file), f"{function} did not return")

    def send(self, message: Any) -> None:
        """Send a JSON value to the script, which reads it by `procedure.messages()`. Raises CommandRefused."""
        self._refuse_after_the_end()
        self._send({"command": "message", "message": message})

    def stop(self, *, wait: bool = True) -> ProcedureState:
        """End it, and all processes of its script, whatever they do. Returns its state.

        The script gets SIGTERM, and after the grace SIGKILL. The state is STOPPED once no process is left, and UNKNOWN
        if that is not confirmed ten seconds after the grace. A procedure that waits for its job is cancelled. One that
        has ended stays as it is.
        """
        found = self.look()
        if found.state.ended:
            return found.state
        if found.state is ProcedureState.CREATING:
            self.job.cancel()
        else:
            self._send({"command": "stop"})
        if not wait:
            return self.look().state
        try:
            return self.wait(None, self.record.grace + _KILL_SECONDS + _ANSWER_SECONDS / 4)
        except WaitTimeout:
            return ProcedureState.UNKNOWN

    def _send(self, message: dict[str, Any]) -> int:
        record = message_record(message, [0])
        return send(self._place.transport, self._place.store.directory(self.key), record)

    def _await_answer(self, file: EventFile, number: int) -> None:
        try:
            for _ in self._follow(file, _ANSWER_SECONDS):
                if event := states.answer(file.events, number):
                    if event["event"] == "refused":
                        raise CommandRefused(f"procedure {self.number}: {event.get('reason')}")
                    return
        except WaitTimeout:
            message = f"procedure {self.number} has not answered command {number} within {_ANSWER_SECONDS:.0f} s: it may follow it later"
            raise ProcedureError(message) from None
        raise CommandRefused(f"procedure {self.number} has ended: {self._snapshot(file).state}")

    def _refuse_after_the_end(self) -> None:
        found = self.look()
        if found.state.ended:
            raise CommandRefused(f"procedure {self.number} has ended: {found.state}")

    def _not_ready(self, state: ProcedureState) -> str:
        how = "" if state.ended else '. Call wait("READY") first, or start(…, force_start=True)'
        return f"procedure {self.number} is {state}, not READY{how}"

    def __repr__(self) -> str:
        return f"<Procedure {self.number}: {self.record.script.path}, {self.key} on {self._place.url}>"


class Snapshot(NamedTuple):
    """What is known of a procedure at a time."""

    history: ProcedureHistory
    reason: str
    """Why it is in its state, as far as it is known."""
    pending: str | None
    """What was asked for and has not happened: `start` or `stop`."""

    @property
    def state(self) -> ProcedureState:
        """The last state."""
        return self.history.states[-1]


def _parsed(state: str | ProcedureState) -> ProcedureState:
    try:
        return ProcedureState(str(state).upper())
    except ValueError:
        message = f"{state!r} is no state of a procedure. The states: {', '.join(ProcedureState)}"
        raise ProcedureError(message) from None
