"""Processes: all processes that a script has started, also detached ones. Linux only, by prctl(2) and proc(5)."""

from __future__ import annotations

import os

_signal = __import__("_signal")  # `signal` imports `enum`

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def _prctl(option: int, value: int) -> None:
    import ctypes  # noqa: PLC0415 - only procedures need it

    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def adopt_orphans() -> None:
    """Become the parent of all descendants whose parents end. Raises OSError if this is not possible."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends. Remains in effect after exec."""
    _prctl(_PR_SET_PDEATHSIG, _signal.SIGKILL)


def children() -> list[int]:
    """Return the children of this process that have not ended, including the orphans that it has adopted."""
    me = os.getpid()
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent(name) == me]


def _parent(pid: str) -> int:
    """Return the parent of a process; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent, *_ = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if state in b"ZX" else int(parent)


def kill(pid: int, number: int) -> None:
    """Send a signal to a process, unless it has ended or now belongs to another user."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def reap() -> tuple[dict[int, int], bool]:
    """Reap children that have ended. Return their exit statuses by pid (-n: signal n), and whether others are left."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if not pid:
            return ended, True
        ended[pid] = os.waitstatus_to_exitcode(status)
