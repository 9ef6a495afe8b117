"""Slot: something that at most one running function of all procedures may hold, such as an instrument.

A record is made by link(2), so that only one procedure gets it. A record is never removed: the slot is free again when
the events of its holder say that the function, or the procedure, has ended.
"""

from __future__ import annotations

import json
import time

from slurm.protocol import EVENTS, JOBS
from slurm.protocol.files import commit, open_own
from slurm.protocol.freshness import exists, retry_absent
from slurm.protocol.procedures import ENDED, EVENT_FILE, MAIN, SLOTS, SlotRecord
from slurm.protocol.records import TYPE_CHECKING, Record
from slurm.runner.procedures.overrides import highest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from slurm.runner.job_context import JobContext


class Held(Record):
    """Another procedure has the slot."""

    number: int
    """The number of the record with which it holds the slot."""
    key: str


class Slot:
    """An exclusive slot, for use by one procedure."""

    def __init__(self, job: JobContext, name: str) -> None:
        self._job, self.name = job, name
        self._directory = f"{job.root}/{SLOTS}/{name}"
        self.number = 0
        """The number of the last record of this procedure."""

    def take(self, command: int, ended: int | None) -> Held | None:
        """Take the slot for a command and return None. If another procedure holds the slot, return that holder.

        `ended` is the number of a record whose holder has ended: a client knows this from the scheduler. Raises
        OSError, and ProtocolError for a record that cannot be read.
        """
        while True:
            last = highest(self._directory)
            if last and last != ended and (held := self._holder(last)):
                return held
            mine = SlotRecord(key=self._job.key, command=command, host=self._job.host, time=time.time())
            if commit(f"{self._directory}/{last + 1}.json", mine.dumps()):
                self.number = last + 1
                return None

    def _holder(self, number: int) -> Held | None:
        """Return the procedure that holds the slot with a record; None if the slot is free."""
        path = f"{self._directory}/{number}.json"
        with retry_absent(open_own, path) as file:
            record = SlotRecord.loads(file.read(), where=path)
        if record.key in (None, self._job.key):
            return None
        try:
            ended = any(_ends(event, record.command) for event in events_of(self._job.root, record.key))
        except FileNotFoundError:  # only jobs that have ended are removed, for example by `slurm gc`
            ended = not exists(f"{self._job.root}/{JOBS}/{record.key}")
        return None if ended else Held(number=number, key=str(record.key))


def _ends(event: dict[str, Any], command: int) -> bool:
    """Whether an event says that a command's function, or its whole procedure, has ended."""
    returned = event.get("event") == "returned" and event.get("function") != MAIN
    return event.get("state") in ENDED or (returned and event.get("command") == command)


def events_of(root: str, key: str | None) -> Iterator[dict[str, Any]]:
    """Yield the events of another procedure. Raises OSError."""
    with retry_absent(open_own, f"{root}/{JOBS}/{key}/{EVENTS}/{EVENT_FILE}") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:  # the line is still being written
                continue
