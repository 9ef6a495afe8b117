"""Abort: starts the abort script of a procedure, or ends it unused. The fixed name of the record allows this once."""

from __future__ import annotations

import os
import time

from slurm.protocol import INBOX, JOBS
from slurm.protocol.files import commit
from slurm.protocol.messages import Message
from slurm.protocol.procedures import BELL, COMPLETE, FAILED, FAILURE, MAIN, READY, STOP, STOPPED, UNKNOWN, abort_name
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.procedures.slots import events_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from slurm.runner.job_context import JobContext
    from slurm.runner.procedures.commands import Command


def abort_record(sender: str, now: float, *, start: bool, ended: int) -> bytes:
    """Return the record with which a procedure starts its abort script, or ends it.

    `ended` is the number of the slot's record that the procedure may still hold.
    """
    start_it = {"command": "start", "function": MAIN, "force": True, "holder_ended": ended}
    message = start_it if start else {"command": "stop", "reason": "not needed"}
    return Message(id=os.urandom(8).hex(), calls=(0, 0), time=now, sender=sender, message=message).dumps()


class AbortScript:
    """The abort procedure of a procedure. The process of the procedure knows it from commands."""

    def __init__(self, job: JobContext) -> None:
        self._job, self._key, self._number = job, "", 0
        self._on: tuple[str, ...] = ()
        self._asked: bool | None = None
        self._settled = False

    def learn(self, command: Command) -> None:
        """Read from a command the key of the abort procedure, and when to start it."""
        fields = command.fields
        if isinstance(fields.get("abort"), str):
            self._key, self._number = fields["abort"], fields.get("abort_id", 0)
            self._on = tuple(fields.get("abort_on", ()))
        if isinstance(fields.get("run_abort"), bool):
            self._asked = fields["run_abort"]

    @property
    def named(self) -> dict[str, Any]:
        """The key and the number of the abort procedure as fields of an event; no fields before it is prepared."""
        return {"abort": self._key, "abort_id": self._number} if self._key else {}

    def settle(self, state: str, ended: int) -> Iterator[dict[str, Any]]:
        """Start or end the abort script once, depending on the state of the procedure. Yields an event about it.

        `ended` is the number of the slot's record that the procedure may still hold.
        """
        if not self._key or self._settled:
            return
        self._settled = True
        start = FAILURE in self._on if state == FAILED else state != COMPLETE
        if state in (STOPPED, UNKNOWN):
            start = STOP in self._on if self._asked is None else self._asked
        try:
            ready = is_ready(self._job, self._key)
            record = abort_record(self._job.key, time.time(), start=start, ended=ended)
            send_abort(self._job, self._key, record)
            yield {"event": "abort", **self.named, "started": start, "ready": ready}
        except OSError as error:
            yield {"event": "abort", **self.named, "error": str(error)}


def send_abort(job: JobContext, abort: str, record: bytes) -> bool:
    """Start or end the abort procedure `abort`; return False if this was done before. Raises OSError."""
    inbox = f"{job.root}/{JOBS}/{abort}/{INBOX}"
    first = commit(f"{inbox}/{abort_name(job.key)}", record)
    with open(f"{inbox}/{BELL}", "ab") as bell:
        bell.write(os.urandom(8))
    return first


def is_ready(job: JobContext, abort: str) -> bool:
    """Whether the abort procedure is READY. Raises OSError."""
    states = [event["state"] for event in events_of(job.root, abort) if event.get("event") == "state"]
    return states[-1:] == [READY]
