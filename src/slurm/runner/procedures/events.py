"""EventLog: the file of a procedure's events, which one process writes."""

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
    """Appends lines of JSON. What cannot be written is kept, and written at the same place later."""

    def __init__(self, path: str, attempt: int) -> None:
        self._path, self._attempt = path, attempt
        with open(path, "ab+") as file:  # hooks may have written lines
            file.seek(0)
            states = [event for event in map(json.loads, file) if event.get("event") == "state"]
            self.earlier = any(event["attempt"] > 0 or event["state"] in ENDED for event in states)
            """Whether another attempt has written states, or the client that prepared it has said its end."""
            self.prepared = bool(states)
            """Whether that client has written states."""
            self._offset = file.seek(0, os.SEEK_END)
        self._unwritten = bytearray()
        self._warned = False

    def add(self, *events: dict[str, Any]) -> None:
        """Append events, with the time."""
        head = {"time": time.time(), "attempt": self._attempt}
        for event in events:
            self._unwritten += json.dumps({**head, **event}).encode() + b"\n"
        self.write()

    def write(self, *, sync: bool = False) -> bool:
        """Write what is not written yet; return False if it cannot be written now."""
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
