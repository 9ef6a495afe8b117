"""Notes: one small file for each running element, kept by its monitor, so that the next supervisor finds the element.

Lines are only ever appended. The supervisor removes a note once it has recorded the element's end.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from slurm.schedulers.local_queue.processes import Process

_VOID = "void"


class End(NamedTuple):
    """An element's final state, in Slurm's words, and the reason."""

    state: str
    reason: str


STATUS_UNKNOWN = "exit status unknown: its monitor was killed"
"""The reason for an element that ended unobserved. Its state is COMPLETED; its outcome may say more."""


class Note(NamedTuple):
    """The content of a note."""

    begun: float
    """Start time by the monotonic clock, which all processes of a machine share."""
    monitor: Process
    """The current monitor."""
    script: Process | None = None
    end: End | None = None
    void: bool = False
    """The script did not run and will not run for this note, so the element can be started again."""


def create(path: str, begun: float) -> None:
    """Make a note, by the process that monitors the element. Raises FileExistsError if there is one already."""
    me = Process.of(os.getpid())
    hidden = f"{path}.{me.pid}"
    _write(hidden, os.O_CREAT | os.O_TRUNC, f"begun {begun!r}\nmonitor {me.pid} {me.born}\n")
    try:
        os.link(hidden, path)  # atomic, and only one monitor succeeds
    finally:
        os.unlink(hidden)


def append_monitor(path: str) -> None:
    """Record that the calling process takes over the monitoring."""
    me = Process.of(os.getpid())
    _append(path, f"monitor {me.pid} {me.born}")


def append_script(path: str) -> None:
    """Record that the calling process is about to become the element's script."""
    me = Process.of(os.getpid())
    _append(path, f"script {me.pid} {me.born}")


def append_end(path: str, end: End) -> None:
    """Record how the element ended."""
    _append(path, f"ended {end.state} {' '.join(end.reason.split())}")


def append_void(path: str) -> None:
    """Record that the script never runs."""
    _append(path, _VOID)


def read(path: str) -> Note | None:
    """Read a note; None if it doesn't exist. A truncated line doesn't count."""
    try:
        with open(path, encoding="ascii", errors="backslashreplace") as file:
            lines = file.read().split("\n")[:-1]
    except FileNotFoundError:
        return None
    note = Note(0.0, Process(0, ""))
    for line in lines:
        word, _, rest = line.partition(" ")
        first, _, second = rest.partition(" ")
        if word == "begun":
            note = note._replace(begun=float(first))
        elif word == "monitor":
            note = note._replace(monitor=Process(int(first), second))
        elif word == "script":
            note = note._replace(script=Process(int(first), second))
        elif word == "ended":
            note = note._replace(end=End(first, second))
        elif word == _VOID:
            note = note._replace(void=True)
    return note


def _append(path: str, line: str) -> None:
    """Append a line. Raises FileNotFoundError if the supervisor has recorded an end and removed the note."""
    _write(path, os.O_APPEND, f"{line}\n")


def _write(path: str, flags: int, text: str) -> None:
    """Write by system calls: Python's file objects would need memory pages that are not shared with the supervisor."""
    descriptor = os.open(path, os.O_WRONLY | flags, 0o600)
    try:
        os.write(descriptor, text.encode("ascii", "backslashreplace"))
    finally:
        os.close(descriptor)
