"""Inbox: the messages that clients send to a call while it runs."""

from __future__ import annotations

import os
import time

from slurm.protocol import INBOX
from slurm.protocol.directories import make_private
from slurm.protocol.files import open_own
from slurm.protocol.freshness import caches, list_names, retry_absent
from slurm.protocol.messages import Message
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PAUSE, PAUSE_IF_CACHED = 0.05, 0.25
"""The shortest time in seconds between two listings of an inbox. The second value is for file systems that cache
listings: there, each listing needs two requests to the server."""

_inboxes: dict[tuple[str, int], Inbox] = {}


class Inbox:
    """The messages to one call, in the order of their numbers. This process takes each message once."""

    def __init__(self, directory: str, index: int, report: Callable[[str], None]) -> None:
        self._directory, self._index, self._report = f"{directory}/{INBOX}", index, report
        self._next, self._listed = 1, float("-inf")
        self._waiting: list[Any] = []
        self._stop = False
        make_private(self._directory)  # NFS may cache for a minute that a directory is missing
        self._pause = PAUSE_IF_CACHED if caches(self._directory) else PAUSE

    def take(self) -> list[Any]:
        """Return the new messages. Lists the inbox, unless it was listed just now. Raises OSError."""
        try:
            self._look(self._pause)
        except OSError:
            if not self._waiting:
                raise  # otherwise the next call raises the error
        found, self._waiting = self._waiting, []
        return found

    def asks_to_stop(self, pause: float) -> bool:
        """Whether a message asks this call to return early. Keeps other messages for `take`. Raises OSError.

        Lists the inbox, unless it was listed in the last `pause` seconds.
        """
        if not self._stop:
            self._look(max(pause, self._pause))
        return self._stop

    def _look(self, pause: float) -> None:
        if time.monotonic() - self._listed < pause:
            return
        self._listed = time.monotonic()
        names = frozenset(list_names(self._directory))
        while (name := f"{self._next}.json") in names:
            record = self._read(os.path.join(self._directory, name))
            self._next += 1
            if record is None or not record.concerns(self._index):
                continue
            if record.stop:
                self._stop = True
            else:
                self._waiting.append(list(record.message) if isinstance(record.message, tuple) else record.message)

    def wait(self, seconds: float, should_end: Callable[[], bool]) -> list[Any]:
        """Return the new messages as soon as there are any; none after `seconds`, or when `should_end()` is true."""
        end = time.monotonic() + seconds
        while not (found := self.take()) and not should_end() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, self._pause))
        return found

    def _read(self, path: str) -> Message | None:
        """Return a message; None if the message is damaged, or if another user could have written it."""
        from slurm.errors import ProtocolError  # noqa: PLC0415 - imports concurrent.futures

        try:
            with retry_absent(open_own, path) as file:
                return Message.loads(file.read(), where=path)
        except ProtocolError as error:
            self._report(f"a message is left out: {error}\n")
            return None


def inbox_of(directory: str, index: int, report: Callable[[str], None]) -> Inbox:
    """Return the one inbox of a call in this process: it knows which messages were taken. `report` gets log lines."""
    found = _inboxes.get((directory, index))
    return found or _inboxes.setdefault((directory, index), Inbox(directory, index, report))
