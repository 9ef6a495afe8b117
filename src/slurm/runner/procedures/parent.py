"""Parent: the process of a procedure that runs no user code. It takes commands, writes events, and ends the script.

The parent runs a loop: it reads the commands of clients and the messages of the script, and checks the processes.
Nothing in the loop waits for the script: the script may hold the interpreter's lock, ignore every signal, or end at any
time.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections import deque

from slurm.protocol import EVENTS, INBOX
from slurm.protocol import procedures as names
from slurm.protocol.procedures import Plan
from slurm.protocol.records import TYPE_CHECKING, Record
from slurm.runner.job_context import Ended, current_job
from slurm.runner.procedures import processes
from slurm.runner.procedures.abort import AbortScript
from slurm.runner.procedures.commands import CommandReader
from slurm.runner.procedures.events import EventLog
from slurm.runner.procedures.overrides import OverrideReader
from slurm.runner.procedures.script_process import ScriptProcess
from slurm.runner.procedures.signatures import misfit_of_call
from slurm.runner.procedures.slots import Held, Slot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from slurm.runner.job_context import JobContext
    from slurm.runner.procedures.commands import Command

_POLL_SECONDS = 0.05
_ENDING_POLL_SECONDS, _STUCK_POLL_SECONDS = 0.01, 1.0
_KILL_SECONDS = 10.0
"""Processes that still exist this many seconds after SIGKILL are reported, because they cannot be killed."""
_TERMINATED = 143  # 128 + SIGTERM


class ScriptFailed(Exception):
    """The script of a procedure has failed. The log has its traceback."""


class _End(Record):
    """The reason why the script is being ended, and the state that follows."""

    state: str | None
    """None if the scheduler ends the job: it knows the state."""
    reason: str = ""
    value: Any = None


def procedure(plan: Mapping[str, Any]) -> Any:
    """Run a procedure in this job; return the result of its `main`."""
    return _Parent(current_job(), Plan.from_json(plan)).run()


class _Parent:
    def __init__(self, job: JobContext, plan: Plan) -> None:
        self._job, self._plan = job, plan
        self._events = EventLog(f"{job.directory}/{EVENTS}/{names.EVENT_FILE}", job.attempt)
        self._commands = CommandReader(f"{job.directory}/{INBOX}")
        self._queued: deque[Command] = deque()
        self._state, self._since = names.CREATING, 0.0
        self._functions: dict[str, list[Any] | None] = {}
        self._end: _End | None = None
        self._kill_at = self._give_up_at = float("inf")
        self._child_left, self._terminated = True, False
        self._stuck = False
        self._overrides = OverrideReader(job.root)
        self._slot = Slot(job, plan.exclusive) if plan.exclusive else None
        self._abort = AbortScript(job)

    def run(self) -> Any:
        if self._events.earlier:
            raise ScriptFailed("the events of an earlier attempt of this procedure exist: a procedure runs once")
        try:
            processes.adopt_orphans()
        except (OSError, AttributeError) as error:
            raise ScriptFailed(f"procedures need Linux, to find all processes of a script: {error}") from None
        awake = self._catch_signals()
        if not self._events.prepared:
            self._say(names.IDLE)
        self._say(names.LOADING, host=self._job.host, pid=os.getpid())
        self._script = ScriptProcess(sys.executable)
        self._pass_on_overrides()
        script, init = self._plan.script, self._plan.init
        self._script.tell(do="load", path=script.path, text=script.text, args=init.args, kwargs=init.kwargs)
        while True:
            self._sleep(awake)
            for message in self._script.hear():
                self._hear(message)
            for command in self._commands.take():
                self._obey(command)
            self._pass_on_overrides()
            self._script.flush()
            self._events.write()
            if self._look() and self._end:
                return self._finish(self._end)

    def _sleep(self, awake: int) -> None:
        """Sleep until the next look, or until a signal or a message of the script arrives."""
        if self._child_left:
            sources, pause = [awake, self._script.answers], _POLL_SECONDS
        else:  # the pipe may be at its end, which would look like a message
            sources, pause = [awake], _STUCK_POLL_SECONDS if self._stuck else _ENDING_POLL_SECONDS
        if awake in select.select(sources, [], [], pause)[0]:
            os.read(awake, 1 << 12)

    def _catch_signals(self) -> int:
        """Let signals wake the loop through a pipe. Returns the end of the pipe to read from."""
        awake, wake = os.pipe()
        for end in (awake, wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_terminated", True))
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        return awake

    def _say(self, state: str, **fields: Any) -> None:
        self._state, self._since = state, time.monotonic()
        self._events.add({"event": "state", "state": state, **fields})

    def _pass_on_overrides(self) -> None:
        for topic, number, values in self._overrides.take():
            self._events.add({"event": "override", "topic": topic, "number": number, "values": values})
            self._script.tell(do="override", topic=topic, number=number, values=values)

    # Messages of the script.

    def _hear(self, message: dict[str, Any]) -> None:
        said = message.pop("say", None)
        if said == "loaded":
            self._functions = message["functions"]
            self._say(names.IDLE, **{name: message[name] for name in ("functions", "expected") if name in message})
            if message["init"]:
                self._say(names.INITIALISING)
        elif said == "ready":
            self._become_ready()
        elif said == "returned":
            self._events.add({"event": "returned", **message})
            if message["function"] == names.MAIN:
                self._say(names.READY)
                self._end_script(_End(state=names.COMPLETE, value=message.get("value", message.get("repr"))))
                self._script.tell(do="exit")
            else:
                self._become_ready()
        elif said == "raised":
            self._events.add({"event": "raised", **message})
            why = f"{message['function']} raised {message['type']}: {message['message']}"
            self._end_script(_End(state=names.FAILED, reason=why))
        elif said == "report":
            self._events.add({"event": "report", **message})

    def _become_ready(self) -> None:
        if self._end is None:
            self._say(names.READY)
            while self._queued and self._state == names.READY:
                self._start(self._queued.popleft())

    # Commands of clients.

    def _obey(self, command: Command) -> None:
        if command.name == "start":
            if self._end is None and command.fields.get("force") and self._state != names.READY:
                self._queued.append(command)
                self._events.add({"event": "queued", "command": command.number, "by": command.sender})
            else:
                self._start(command)
        elif command.name == "stop":
            self._abort.learn(command)
            self._events.add(
                {"event": "stopping", "command": command.number, "by": command.sender, **self._abort.named}
            )
            self._stop(str(command.fields.get("reason") or f"stopped by {command.sender}"))
        elif command.name == "message":
            self._events.add({"event": "message", "command": command.number, "by": command.sender, **command.fields})
            self._script.tell(do="message", message=command.fields.get("message"))
        else:
            self._refuse(command, f"there is no command {command.name!r}")

    def _start(self, command: Command) -> None:
        function = str(command.fields.get("function", names.MAIN))
        if self._end is not None or self._state != names.READY:
            self._refuse(command, f"the procedure is {'ending' if self._end else self._state}, not READY")
        elif wrong := misfit_of_call(self._functions, command.fields):
            self._refuse(command, wrong)
        elif held := self._held(command):
            why = f"the slot {self._plan.exclusive!r} is held by {held.key}"
            self._refuse(command, why, holder=held.key, slot=held.number)
        else:
            self._abort.learn(command)
            call = {"command": command.number, "function": function}
            given = {"args": command.fields.get("args", []), "kwargs": command.fields.get("kwargs", {})}
            self._events.add({"event": "called", **call, **given, "by": command.sender, **self._abort.named})
            self._say(names.RUNNING, **call)
            self._script.tell(do="call", **call, **given)

    def _held(self, command: Command) -> Held | None:
        """Take the exclusive slot, if the procedure has one. If another procedure holds it, return that holder."""
        from slurm.errors import ProtocolError  # noqa: PLC0415 - imports concurrent.futures

        if self._slot is None:
            return None
        try:
            return self._slot.take(command.number, command.fields.get("holder_ended"))
        except (OSError, ProtocolError) as error:
            return Held(number=0, key=f"somebody: its record cannot be read, {error}")

    def _refuse(self, command: Command, why: str, **more: Any) -> None:
        self._events.add({"event": "refused", "command": command.number, "by": command.sender, "reason": why, **more})

    # The end of the procedure.

    def _end_script(self, end: _End) -> None:
        """Decide the last state; later decisions are ignored. The script may still end by itself."""
        if self._end is None:
            self._end = end
            self._kill_at = time.monotonic() + self._plan.grace

    def _stop(self, reason: str) -> None:
        self._end_script(_End(state=names.STOPPED, reason=reason))
        self._terminate()

    def _terminate(self, most: float = float("inf")) -> None:
        """Ask the script to end, and kill it after its grace."""
        self._kill_at = min(self._kill_at, time.monotonic() + min(most, self._plan.grace))
        if self._child_left:
            processes.kill(self._script.pid, signal.SIGTERM)

    def _look(self) -> bool:
        """Check the processes, and kill those whose time is over. Return whether no process of the script is left."""
        if self._terminated:
            self._terminated = False
            if self._end is None:
                self._end = _End(state=None)
            self._terminate(self._plan.kill_wait / 2)
        idle = self._plan.idle_timeout
        if self._end is None and self._state == names.READY and idle and time.monotonic() - self._since > idle:
            self._stop("idle")
        ended, others = processes.reap()
        if self._script.pid in ended:
            self._child_left = False
            for message in self._script.hear():
                self._hear(message)
            self._end_script(_End(state=names.FAILED, reason=self._why_it_ended(ended[self._script.pid])))
        if self._end is None or (self._child_left and time.monotonic() < self._kill_at):
            return False
        if others:
            self._kill()  # they have ended when they are reaped
        return not others

    def _why_it_ended(self, status: int) -> str:
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return f"its process ended {how} while it was {self._state}"

    def _kill(self) -> None:
        """Kill all processes of the script."""
        now = time.monotonic()
        self._give_up_at = min(self._give_up_at, now + _KILL_SECONDS)
        left = processes.children()
        for pid in left:
            processes.kill(pid, signal.SIGKILL)
        if left and now > self._give_up_at and not self._stuck:
            self._stuck = True
            self._say(names.UNKNOWN, reason="these processes cannot be killed", pids=left)
            self._settle_abort(names.UNKNOWN)

    def _finish(self, end: _End) -> Any:
        """Write the last state, and end the call: return its value, or raise Ended (stopped) or ScriptFailed."""
        if end.state is None:
            self._events.finish()
            sys.stderr.flush()
            os._exit(_TERMINATED)
        self._say(end.state, **({"reason": end.reason} if end.reason else {}))
        for command in self._queued:
            self._refuse(command, "the procedure has ended")
        self._settle_abort(end.state)
        self._events.finish()
        if end.state == names.COMPLETE:
            return end.value
        if end.state == names.STOPPED:
            raise Ended(end.reason)
        raise ScriptFailed(end.reason)

    def _settle_abort(self, state: str) -> None:
        for event in self._abort.settle(state, self._slot.number if self._slot else 0):
            self._events.add(event)
