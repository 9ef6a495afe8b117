"""Procedure: a handle with which any process can start, stop and watch a procedure."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from slurm.errors import NoSuchJob
from slurm.jobs.completion import TimeoutError as WaitTimeout
from slurm.jobs.job import Job
from slurm.options import Options
from slurm.procedures import states
from slurm.procedures.errors import CommandRefused, ProcedureError, ProcedureFailed
from slurm.procedures.event_file import EventFile
from slurm.procedures.preparing import checked_json, prepare, read_record, was_removed
from slurm.procedures.shared_records import publish
from slurm.procedures.states import ProcedureState
from slurm.protocol import INBOX, LOGS, log_name
from slurm.protocol.procedures import FAILURE, MAIN, STOP, abort_name
from slurm.protocol.states import JobState
from slurm.runner.procedures.abort import abort_record
from slurm.sanitize.numbers import seconds_to_wait
from slurm.storage.inbox import message_record, ring, send, sender
from slurm.views.status import statuses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from slurm.clusters.cluster import Cluster
    from slurm.places.place import Place
    from slurm.procedures.states import Event, ProcedureHistory, ProcedureSummary
    from slurm.protocol.procedures import ProcedureRecord

_log = logging.getLogger(__name__)

HOW_TO_START = 'Call wait("READY") first, or start(…, force_start=True)'
"""The advice of `CommandRefused` for a procedure that is not READY yet. A frontend replaces it with its own words."""

_SHORTEST, _LONGEST, _FACTOR = 0.03, 0.25, 1.2
"""The pause between two readings of events: the shortest and the longest in seconds, and the factor by which it grows
while nothing happens.
"""
_UNSUBMITTED_SECONDS = 0.5
"""Seconds between two checks for the job of a procedure that has no job yet."""
_ANSWER_SECONDS = 60.0
_KILL_SECONDS, _LATE_SECONDS = 10.0, 15.0
"""A stop that is not confirmed so many seconds after the grace makes the state UNKNOWN; and the seconds for the
answer to arrive.
"""


class Procedure:
    """A prepared script. Its properties may read files and ask the scheduler."""

    def __init__(self, cluster: Cluster, number: int, record: ProcedureRecord) -> None:
        self._cluster, self._place, self.number, self.record = cluster, cluster.place, number, record

    @property
    def id(self) -> int:
        """The number of the procedure, for `service.procedure(number)`."""
        return self.number

    @property
    def key(self) -> str:
        """The key of the procedure's job."""
        return self.record.key

    @property
    def job(self) -> Job[Any]:
        """The procedure's job, for logs, resources and the answers of the scheduler."""
        return Job(self._place, self._place.registry.get(self.key), 0)

    @property
    def log_path(self) -> str:
        """The path of the procedure's log, on the cluster."""
        return f"{self._place.store.directory(self.key)}/{LOGS}/{log_name(0, '0')}"

    def _job_or_none(self) -> Job[Any] | None:
        """Return the procedure's job; None before it is submitted."""
        try:
            return self.job
        except NoSuchJob:
            return None

    # State, history and events.

    @property
    def state(self) -> ProcedureState:
        """The state of the procedure now."""
        return self.look().state

    @property
    def history(self) -> ProcedureHistory:
        """The states of the procedure so far, with their times, and the traceback of its script."""
        return self.look().history

    def look(self) -> ProcedureSummary:
        """Return a summary: read the events, and ask for the state of the job unless the events contain the end."""
        file = self._events()
        file.read()
        return self._snapshot(file)

    def _snapshot(self, file: EventFile) -> ProcedureSummary:
        found = states.summary(self.number, self.record, file.events)
        if found.state.ended:
            return found
        job = self._job_or_none()
        if job is None:
            return states.without_files(found) if was_removed(self._place, self.key) else found
        status = statuses([job.part])[0][0]
        if status.state.final:
            file.read()  # the procedure may have written its end just now
        found = states.summary(self.number, self.record, file.events, status)
        if status.state.final:
            self.settle_abort(file.events, found)
        return found

    def settle_abort(self, events: Sequence[Event], found: ProcedureSummary) -> None:
        """Start or end the abort script, if the procedure's process has died. Only the first decision counts."""
        key, abort = states.abort_key(events), self.record.abort
        if key is None or abort is None or any(event["event"] == "abort" for event in events):
            return
        start = {ProcedureState.FAILED: FAILURE, ProcedureState.STOPPED: STOP}.get(found.state) in abort.on
        record = abort_record(sender(), time.time(), start=start, ended=0)
        if self._place.store.commit(key, INBOX, {abort_name(self.key): record}):
            ring(self._place.transport, f"{self._place.store.directory(key)}/{INBOX}")

    def _events(self, after: int = 0) -> EventFile:
        return EventFile(self._place.transport, self._place.store.directory(self.key), after)

    def events(self, *, follow: bool = False, after: int = 0) -> Iterator[Event]:
        """Yield the events of the procedure; with `follow`, also later ones, until the procedure has ended.

        Each event has an `offset`. `after` is the offset of the last event that the caller knows already.
        """
        file = self._events(after)
        if not follow:
            file.read()
            yield from file.events
            return
        for new in self._follow(file, None):
            yield from new

    def _follow(self, file: EventFile, timeout: float | None) -> Iterator[list[Event]]:
        """Yield new events as they come, until the procedure has ended.

        Yields empty lists in between, so that the caller can leave.
        """
        ended, end = threading.Event(), None if timeout is None else time.monotonic() + timeout
        undo: Callable[[], None] | None = None
        pause, looked = _SHORTEST, float("-inf")
        try:
            while True:
                if undo is None and time.monotonic() - looked > _UNSUBMITTED_SECONDS:
                    looked = time.monotonic()
                    job = self._job_or_none()
                    undo = None if job is None else job.when_finished(ended.set)
                last = ended.is_set()
                new = file.read()
                yield new
                if last or (file.events and states.history(0.0, file.events).states[-1].ended):
                    return
                if end is not None and time.monotonic() > end:
                    raise WaitTimeout(f"procedure {self.number} has not come so far after {timeout} s; it goes on")
                pause = _SHORTEST if new else min(_FACTOR * pause, _LONGEST)
                ended.wait(max(pause, self._place.transport.pace))
        finally:
            if undo is not None:
                undo()

    def wait(self, state: str | ProcedureState | None = None, timeout: float | None = None) -> ProcedureState:
        """Wait until the procedure is in `state`, by default until it has ended; return the state.

        `timeout` is in seconds. A state that lasts only for a moment is not missed. Raises ProcedureFailed if the
        procedure ends and was never in this state, and TimeoutError.
        """
        wanted = None if state is None else ProcedureState.of(state)
        file, seen = self._events(), 0
        try:
            for _ in self._follow(file, seconds_to_wait(timeout)):
                had = states.history(self.record.created, file.events).states
                if wanted is not None and wanted in had[seen or -1 :]:
                    return wanted
                seen = len(had)
        except WaitTimeout:
            now = self._snapshot(file).state
            raise WaitTimeout(f"procedure {self.number} is {now}, not {wanted or 'ended'}, after {timeout} s") from None
        found = self._snapshot(file)
        if wanted is not None and wanted not in found.history.states:
            raise self._failure(found, f"it was never {wanted}")
        return wanted or found.state

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end of the procedure; return the value of `main`. Raises ProcedureFailed, TimeoutError."""
        self.wait(None, timeout)
        found = self.look()
        if found.state is not ProcedureState.COMPLETE:
            raise self._failure(found, "main did not return")
        return self.job.result()

    def _failure(self, found: ProcedureSummary, what: str) -> ProcedureFailed:
        why = f" ({found.reason})" if found.reason else ""
        message = f"procedure {self.number} ended {found.state}{why}: {what}. Its log: {self.log_path}"
        return ProcedureFailed(message, stacktrace=found.history.stacktrace)

    # Commands.

    def start(self, function: str = MAIN, /, *args: Any, force_start: bool = False, **kwargs: Any) -> int:
        """Call a function of the script with JSON values; return the number of the command once the function begins.

        After `main` has returned, the procedure ends; after any other function, it is READY again. With `force_start`,
        a procedure that is not READY yet calls the function when it is. Raises CommandRefused.
        """
        given = checked_json({"args": [*args], "kwargs": kwargs}, f"the arguments of {function}")
        command = {"command": "start", "function": function, "force": force_start, **given}
        file = self._events()
        file.read()
        had = states.history(self.record.created, file.events).states
        if had[-1] is not ProcedureState.READY and ((found := self._snapshot(file).state).ended or not force_start):
            how = "" if found.ended else f". {HOW_TO_START}"
            raise CommandRefused(f"procedure {self.number} is {found}, not READY{how}")
        self._warn_of_the_limit(file)
        abort = None
        if self.record.abort and self.record.abort.early:
            if wrong := states.misfit_of(file.events, command):  # before a job for the abort script is submitted
                raise CommandRefused(f"procedure {self.number}: {wrong}")
            abort = self._prepare_abort(file)
        try:
            return self._start(file, command | self._abort_fields(abort))
        except CommandRefused:
            if abort is not None:
                abort.stop(wait=False)
            raise

    def _warn_of_the_limit(self, file: EventFile) -> None:
        """Log a warning if the time limit of the job leaves less time than the script expects to take."""
        found = states.summary(self.number, self.record, file.events)
        if found.ends_at is not None and found.expected is not None and found.ends_at - time.time() < found.expected:
            left = max(0.0, found.ends_at - time.time())
            what = "procedure %s reaches its time limit in %.0f s, and its script expects to take %.0f s"
            _log.warning(what, self.number, left, found.expected)

    def _start(self, file: EventFile, command: dict[str, Any]) -> int:
        number = self._send(command)
        if command["force"]:
            return number
        refused = self._refusal(file, number)
        if refused and (holder := refused.get("holder")) and has_ended(self._place, str(holder)):
            number = self._send({**command, "holder_ended": refused.get("slot")})
            refused = self._refusal(file, number)
        if refused:
            raise CommandRefused(f"procedure {self.number}: {refused.get('reason')}")
        return number

    def run(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function of the script, wait for its end, and return its value.

        Raises CommandRefused, and ProcedureFailed if the function did not return.
        """
        return self.value_of(self.start(function, *args, **kwargs))

    def value_of(self, command: int, timeout: float | None = None) -> Any:
        """Wait for the end of the call that `start` has begun; return its value, or a text if JSON has no such value.

        `command` is the number that `start` has returned. Raises CommandRefused, ProcedureFailed if the function did
        not return, and TimeoutError.
        """
        file = self._events()
        for _ in self._follow(file, seconds_to_wait(timeout)):
            if event := states.end_of_call(file.events, command):
                if event["event"] == "returned":
                    return event.get("value", event.get("repr"))
                if event["event"] == "refused":
                    raise CommandRefused(f"procedure {self.number}: {event.get('reason')}")
                break
        self.wait()
        begun = states.answer(file.events, command, begun=True) is not None
        raise self._failure(self.look(), "the function did not return" if begun else "the function was not called")

    @property
    def abort(self) -> Procedure | None:
        """The procedure of the abort script; None before that is prepared."""
        file = self._events()
        file.read()
        number = states.abort_number(file.events)
        return None if number is None else Procedure(self._cluster, number, read_record(self._place, number))

    def _prepare_abort(self, file: EventFile) -> Procedure | None:
        """Prepare the abort script, unless it is prepared already."""
        abort = self.record.abort
        if abort is None or states.abort_key(file.events) is not None:
            return None
        plan = self.record.plan.replace(script=abort.script, init=abort.init, idle_timeout=None)
        options = Options.parse(self.record.options)
        return Procedure(self._cluster, *prepare(self._cluster, plan, options=options, aborts=self.key))

    def _abort_fields(self, abort: Procedure | None) -> dict[str, Any]:
        on = self.record.abort.on if self.record.abort else ()
        return {"abort": abort.key, "abort_id": abort.number, "abort_on": on} if abort else {}

    def send(self, message: Any) -> None:
        """Send a JSON value to the script, which reads it with `procedure.messages()`. Raises CommandRefused."""
        file = self._events()
        file.read()
        job = self._job_or_none()
        if states.history(0.0, file.events).states[-1].ended or (job is not None and job.done()):
            raise CommandRefused(f"procedure {self.number} has ended: {self._snapshot(file).state}")
        self._send({"command": "message", "message": message})

    def publish(self, topic: str, /, **values: Any) -> int:
        """Set override values for all procedures of the same directory, as `service.publish` does."""
        return publish(self._place, topic, values)

    def stop(self, *, abort: bool | None = None, wait: bool = True) -> ProcedureState:
        """End the procedure and all processes of its script, whatever they are doing. Returns the state.

        The script gets SIGTERM, and after the grace SIGKILL. The state is STOPPED once no process is left, and UNKNOWN
        if this is not confirmed ten seconds after the grace. Then the abort script starts, if there is one. `abort`
        says whether it starts; the default is the setting of the service. A procedure that waits for its job is
        cancelled. If its environment is being built, the procedure ends after the build, and this method returns at
        once. A procedure that has ended stays in its state. Raises ProcedureError for `abort` without an abort script.
        """
        if abort and self.record.abort is None:
            raise ProcedureError(f"procedure {self.number} has no abort script: make its service with abort=…")
        file = self._events()
        file.read()
        found = states.history(0.0, file.events).states[-1]
        if found is ProcedureState.CREATING or found.ended:
            found = self._snapshot(file).state
        job = self._job_or_none()
        if found.ended or (job is None and found is ProcedureState.UNKNOWN):  # UNKNOWN: no files any more
            return found
        if job is not None and found is ProcedureState.CREATING:
            job.cancel()
        else:
            late = None
            has_run = any(event["event"] == "called" for event in file.events)
            if abort or (abort is None and has_run and self.record.abort and STOP in self.record.abort.on):
                late = self._prepare_abort(file)
            wanted = {} if abort is None else {"run_abort": abort}
            self._send({"command": "stop", **wanted, **self._abort_fields(late)})
        return self._confirmed(file) if wait and job is not None else self._snapshot(file).state

    def _confirmed(self, file: EventFile) -> ProcedureState:
        """Wait for the end of a procedure that was told to stop; return UNKNOWN if the end is not confirmed in time."""
        try:
            for _ in self._follow(file, self.record.plan.grace + _KILL_SECONDS + _LATE_SECONDS):
                if states.history(0.0, file.events).states[-1] is ProcedureState.UNKNOWN:
                    break
            return self._snapshot(file).state
        except WaitTimeout:
            return ProcedureState.UNKNOWN

    def _send(self, message: dict[str, Any]) -> int:
        record = message_record(message, [0])
        return send(self._place.transport, self._place.store.directory(self.key), record)

    def _refusal(self, file: EventFile, number: int) -> Event | None:
        """Wait for the answer to a command; return it if it is a refusal. Raises ProcedureError, CommandRefused."""
        try:
            for _ in self._follow(file, _ANSWER_SECONDS):
                if event := states.answer(file.events, number):
                    return event if event["event"] == "refused" else None
        except WaitTimeout:
            raise ProcedureError(
                f"procedure {self.number} has not answered within {_ANSWER_SECONDS:.0f} s, but may still obey"
            ) from None
        raise CommandRefused(f"procedure {self.number} has ended: {self._snapshot(file).state}")

    def __repr__(self) -> str:
        return f"<Procedure {self.number}: {self.record.plan.script.path}, {self.key} on {self._place.url}>"


def has_ended(place: Place, key: str) -> bool:
    """Whether the job of a procedure has ended for certain, on a node that answers."""
    try:
        status = statuses([Job(place, place.registry.get(key), 0).part])[0][0]
    except NoSuchJob:
        return False
    uncertain = (JobState.NODE_FAIL, JobState.LOST, JobState.UNKNOWN)
    return status.state.final and status.state not in uncertain
