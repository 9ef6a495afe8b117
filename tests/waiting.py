"""Waiting in tests: for what must happen soon, and never for ever; processes, and the files that they write."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path


def until(happened: Callable[[], object], timeout: float = 120.0) -> None:
    """Wait until `happened()`; AssertionError after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < end, "it didn't happen in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def remove(directory: str | os.PathLike[str]) -> None:
    """Remove a directory with all in it. A process that ends may still write there, after its result is there."""

    def gone() -> bool:
        shutil.rmtree(directory, ignore_errors=True)
        return not os.path.exists(directory)

    until(gone)
