"""The process of a local scheduler, for tests that kill it."""

from __future__ import annotations

from pathlib import Path

from slurm.schedulers.local_queue import wire


def supervisor_of(directory: Path) -> int | None:
    """The process that holds the lock of a supervisor's directory; None if none does."""
    try:
        inode = (directory / wire.FORM / "lock").stat().st_ino
    except FileNotFoundError:
        return None
    for lock in Path("/proc/locks").read_text().splitlines():
        fields = lock.split()
        if "FLOCK" in fields and fields[-3].endswith(f":{inode}"):
            return int(fields[-4])
    return None
