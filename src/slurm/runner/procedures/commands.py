"""CommandReader: reads the commands that clients send to a procedure, in the order of their numbers."""

from __future__ import annotations

from slurm.protocol.files import open_own
from slurm.protocol.freshness import list_names, retry_absent
from slurm.protocol.messages import Message
from slurm.protocol.records import TYPE_CHECKING, Record
from slurm.runner.job_context import print_to_log
from slurm.runner.procedures.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_LISTING_SECONDS = 5.0
"""The inbox is listed at least at this interval: a sender may have died before it rang the bell."""


class Command(Record):
    """A command of a client."""

    number: int
    """The number of the command in the inbox; 0 if it comes from the procedure whose abort script this is."""
    name: str
    sender: str
    fields: dict[str, Any]


class CommandReader:
    """The commands to one procedure. This process takes each command once."""

    def __init__(self, inbox: str) -> None:
        self._inbox, self._next, self._aborts = inbox, 1, set[str]()
        self._bell = Bell(inbox, _LISTING_SECONDS)

    def take(self) -> Iterator[Command]:
        """Yield the new commands. Reads the bell, and lists the inbox only if the bell was rung."""
        if not self._bell.has_rung():
            return
        try:
            names = frozenset(list_names(self._inbox))
        except OSError as error:
            print_to_log(f"the commands cannot be listed, trying again: {error}\n")
            self._bell.forget()
            return
        while (name := f"{self._next}.json") in names:
            number, self._next = self._next, self._next + 1
            if command := self._read(name, number):
                yield command
        for name in names - self._aborts:
            if name.startswith("abort-"):
                self._aborts.add(name)
                if command := self._read(name, 0):
                    yield command

    def _read(self, name: str, number: int) -> Command | None:
        """Return a command; None if the command is damaged, or if another user could have written it."""
        from slurm.errors import ProtocolError  # noqa: PLC0415 - imports concurrent.futures

        path = f"{self._inbox}/{name}"
        try:
            with retry_absent(open_own, path) as file:
                record = Message.loads(file.read(), where=path)
            fields = dict(record.message)
            return Command(number=number, name=str(fields.pop("command")), sender=record.sender, fields=fields)
        except (ProtocolError, OSError, TypeError, ValueError, KeyError) as error:
            print_to_log(f"command {name} is left out: {error}\n")
            return None
