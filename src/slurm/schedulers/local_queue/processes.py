"""Processes: fork a detached one, and tell a process from a later one with the same pid."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Process(NamedTuple):
    """A process: its pid and its start time."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this pid now."""
        return cls(pid, born(pid))

    @property
    def alive(self) -> bool:
        """Whether it still runs. A later process with its pid is another process."""
        return self.born != "" and born(self.pid) == self.born


def born(pid: int) -> str:
    """When a process began: `ps`'s words, or Linux's clock ticks since the boot. "" if it has ended."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            fields = os.read(descriptor, 4096).rpartition(b")")[2].split()
        finally:
            os.close(descriptor)
        return "" if fields[0] in b"ZX" else fields[19].decode()  # proc(5): field 22, starttime
    except (FileNotFoundError, ProcessLookupError):
        if os.path.isdir("/proc/self"):
            return ""
    import subprocess  # noqa: PLC0415 - only without /proc

    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()


def log(words: str) -> None:
    """Add a line to the supervisor's log, which is its standard error."""
    sys.stderr.write(f"{time.ctime()}: {words}\n")


def fork(body: Callable[[], int]) -> int:
    """Run `body` in a child that leads a session of its own, with SIGTERM blocked; returns the child's number.

    What `body` returns is the child's exit status. All descriptors but the standard ones are closed.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    try:
        child = os.fork()
        if child == 0:
            _run(body)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return child


def _run(body: Callable[[], int]) -> None:
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os._exit(body())
    except BaseException:  # noqa: BLE001 - the child of a fork must not return into its parent's code
        traceback.print_exc()
    finally:
        os._exit(1)
