"""EventFile: read the events of a procedure, and the events that are added later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.procedures.states import parse
from slurm.protocol import EVENTS
from slurm.protocol.procedures import EVENT_FILE
from slurm.storage.log_growth import growth

if TYPE_CHECKING:
    from slurm.procedures.states import Event
    from slurm.transports.base import Transport


def event_path(directory: str) -> str:
    """Return the path of the event file of a procedure, in the directory of its job."""
    return f"{directory}/{EVENTS}/{EVENT_FILE}"


def read_lines(transport: Transport, path: str, offset: int) -> bytes:
    """Return complete lines from a byte offset: as many as one command reads, or one longer line.

    Raises TransportError.
    """
    data = b""
    while b"\n" not in data and (more := growth(transport, {path: offset + len(data)}).get(path, b"")):
        data += more
    return data[: data.rfind(b"\n") + 1]


class EventFile:
    """The events of one procedure that were read so far. Not thread-safe."""

    def __init__(self, transport: Transport, directory: str, offset: int = 0) -> None:
        self._transport = transport
        self._path = event_path(directory)
        self.offset = offset
        """The byte offset of the end of the last complete line that was read."""
        self.events: list[Event] = []

    def read(self) -> list[Event]:
        """Read the events that were added, with one command; return them. Raises TransportError."""
        new: list[Event] = []
        while lines := read_lines(self._transport, self._path, self.offset):
            new += parse(lines, self.offset)
            self.offset += len(lines)
        self.events += new
        return new
