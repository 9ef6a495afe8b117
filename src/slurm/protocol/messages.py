"""Messages: the records `inbox/<n>.json`, from clients to the calls of a submission that run or will run."""

from __future__ import annotations

from slurm.protocol import Document
from slurm.protocol.ranges import are_bounds
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


class Message(Document):
    """A message to some calls of a submission. A client links it to the next free number, which gives the order."""

    id: str
    """A random text. A client that sends a message again recognises it by this id."""
    calls: tuple[int, ...]
    """The indices of the calls: the first and the last number of each run of consecutive numbers."""
    time: float
    """By the sender's clock, in seconds since the epoch."""
    sender: str
    """The sender, as user@host."""
    message: Any = None
    """The JSON value. A list is a tuple here, as in every record."""
    stop: bool = False
    """Whether the message asks the calls to return early, and has no value: `JobContext.should_stop` is then true."""

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        return None if are_bounds(self.calls) else f"{self.calls} are no ranges of calls"

    def concerns(self, index: int) -> bool:
        """Whether the message is for a call."""
        return any(low <= index <= high for low, high in zip(self.calls[::2], self.calls[1::2], strict=True))
