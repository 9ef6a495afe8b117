"""Bell: a file that grows after a record was added to a directory, so that readers need not list the directory."""

from __future__ import annotations

import os
import time

from slurm.protocol.freshness import caches
from slurm.protocol.procedures import BELL

_PAUSE, _PAUSE_IF_CACHED = 0.05, 0.2
"""The shortest time in seconds between two looks. The second value is for file systems where each look is a request."""


class Bell:
    """The bell of a directory, for one reader: it remembers what this reader has seen."""

    def __init__(self, directory: str, longest: float) -> None:
        self._path, self._longest = f"{directory}/{BELL}", longest
        self._pause = _PAUSE_IF_CACHED if caches(directory) else _PAUSE
        self._caches = caches(directory)
        self._heard: tuple[int, int, bytes] | None = None
        self._looked = self._listed = float("-inf")

    def has_rung(self) -> bool:
        """Whether records may have been added since the last call. Also true after `longest` seconds.

        The reason is that a sender may have died before it rang the bell.
        """
        now = time.monotonic()
        if now - self._looked < self._pause:
            return False
        self._looked, before = now, self._heard
        self._heard = self._look()
        if self._heard == before and now - self._listed < self._longest:
            return False
        self._listed = now
        return True

    def forget(self) -> None:
        """Make the next call of `has_rung` return true, because the records could not be read."""
        self._heard = None

    def _look(self) -> tuple[int, int, bytes]:
        """Return the state of the file. Opens the file each time: only this shows what other machines have written."""
        try:
            if self._caches:  # see `slurm.protocol.freshness`
                os.chmod(self._path, 0o600)
            with open(self._path, "rb") as file:
                status = os.fstat(file.fileno())
                file.seek(max(0, status.st_size - 64))
                return status.st_size, status.st_mtime_ns, file.read()
        except OSError:
            return 0, 0, b""
