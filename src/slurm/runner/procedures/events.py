"""EventLog: the file of a procedure's events. One process writes it."""

from __future__ import annotations

import json
import os
import time

from slurm.protocol.frames import write_at
from slurm.protocol.procedures import ENDED
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.job_context import print_to_log

if TYPE_CHECKING:
    from typing import Any

_PAUSE = 0.5


class EventLog:
    """Appends lines of JSON. Lines that cannot be written are kept, and written at the same offset later."""

    def __init__(self, path: str, attempt: int) -> None:
        self._path, self._attempt = path, attempt
        with open(path, "ab+") as file:  # hooks may have written lines
            file.seek(0)
            states = [event for event in map(json.loads, file) if event.get("event") == "state"]
            self.earlier = any(event["attempt"] > 0 or event["state"] in ENDED for event in states)
            """Whether another attempt has written states, or the preparing client has written a final state."""
            self.prepared = bool(states)
            """Whether the client that prepared the procedure has written states."""
            self._offset = file.seek(0, os.SEEK_END)
        self._unwritten = bytearray()
        self._warned = False

    def add(self, *events: dict[str, Any]) -> None:
        """Append events, with the time and the attempt."""
        head = {"time": time.time(), "attempt": self._attempt}
        for event in events:
            self._unwritten += json.dumps({**head, **event}).encode() + b"\n"
        self.write()

    def write(self, *, sync: bool = False) -> bool:
        """Write the events that are not written yet; return False if they cannot be written now."""
        if not self._unwritten and not sync:
            return True
        try:
            write_at(self._path, self._offset, self._unwritten, sync=sync)
        except OSError as error:
            if not self._warned:
                self._warned = True
                print_to_log(f"events cannot be written, trying again: {error}\n")
            return False
        self._offset += len(self._unwritten)
        self._unwritten.clear()
        self._warned = False
        return True

    def finish(self) -> None:
        """Write and sync all events, however long it takes."""
        while not self.write(sync=True):
            time.sleep(_PAUSE)
