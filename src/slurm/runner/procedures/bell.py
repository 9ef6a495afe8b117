"""Bell: a file that grows after a record was added to a directory, so that readers need not list the directory."""

from __future__ import annotations

import os
import time

from slurm.protocol.freshness import caches
from slurm.protocol.procedures import BELL

_PAUSE, _PAUSE_IF_CACHED = 0.05, 0.2
"""The shortest time in seconds between two looks; and on a file system that caches them, where each is a request."""


class Bell:
    """The bell of a directory, as one reader has heard it."""

    def __init__(self, directory: str, longest: float) -> None:
        self._path, self._longest = f"{directory}/{BELL}", longest
        self._pause = _PAUSE_IF_CACHED if caches(directory) else _PAUSE
        self._caches = caches(directory)
        self._heard: tuple[int, int, bytes] | None = None
        self._looked = self._listed = float("-inf")

    def has_rung(self) -> bool:
        """Whether records may have been added since the last time: also true after `longest` seconds.

        A sender may have died before it rang.
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
        """Have the next call answer true: the records could not be read."""
        self._heard = None

    def _look(self) -> tuple[int, int, bytes]:
        """Return the state of the file. It is opened anew: only then what other machines have written is seen."""
        try:
            if self._caches:  # see `slurm.protocol.freshness`
                os.chmod(self._path, 0o600)
            with open(self._path, "rb") as file:
                status = os.fstat(file.fileno())
                file.seek(max(0, status.st_size - 64))
                return status.st_size, status.st_mtime_ns, file.read()
        except OSError:
            return 0, 0, b""
