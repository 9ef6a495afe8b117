"""Notes: one small file for each running element. Its monitor writes it, and the next supervisor reads it.

Lines are only appended. The supervisor removes a note once it has recorded the element's final state.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from slurm.schedulers.local_queue.processes import Process

_VOID = "void"


class FinalState(NamedTuple):
    """An element's final state, by Slurm's name, and the reason."""

    state: str
    reason: str


STATUS_UNKNOWN = "exit status unknown: its monitor was killed"
"""The reason of an element that ended unobserved. Its state is COMPLETED; its outcome may say more."""


class Note(NamedTuple):
    """The content of a note."""

    begun: float
    """Start time by the monotonic clock, which all processes of a machine share."""
    monitor: Process
    """The current monitor."""
    script: Process | None = None
    final: FinalState | None = None
    void: bool = False
    """The script will not run for this note, so the element can be started again."""


def create(path: str, begun: float) -> None:
    """Create a note for which the calling process is the monitor. Raises FileExistsError if there is one already."""
    me = Process.of(os.getpid())
    hidden = f"{path}.{me.pid}"
    _write(hidden, os.O_CREAT | os.O_TRUNC, f"begun {begun!r}\nmonitor {me.pid} {me.born}\n")
    try:
        os.link(hidden, path)  # atomic, and only one monitor succeeds
    finally:
        os.unlink(hidden)


def append_process(path: str, role: str) -> None:
    """Record that the calling process becomes the element's "monitor" or "script"."""
    me = Process.of(os.getpid())
    _append(path, f"{role} {me.pid} {me.born}")


def append_final(path: str, final: FinalState) -> None:
    """Record how the element ended."""
    _append(path, f"ended {final.state} {' '.join(final.reason.split())}")


def append_void(path: str) -> None:
    """Record that the script will not run."""
    _append(path, _VOID)


def read(path: str) -> Note | None:
    """Read a note; None if it does not exist. A truncated line is ignored."""
    try:
        with open(path, encoding="ascii", errors="backslashreplace") as file:
            lines = file.read().split("\n")[:-1]
    except FileNotFoundError:
        return None
    fields = {"begun": ("0", ""), "monitor": ("0", "")}
    for line in lines:
        word, _, rest = line.partition(" ")
        first, _, second = rest.partition(" ")
        fields[word] = (first, second)  # a later monitor replaces an earlier one
    script, ended = fields.get("script"), fields.get("ended")
    return Note(
        begun=float(fields["begun"][0]),
        monitor=Process(int(fields["monitor"][0]), fields["monitor"][1]),
        script=Process(int(script[0]), script[1]) if script else None,
        final=FinalState(*ended) if ended else None,
        void=_VOID in fields,
    )


def _append(path: str, line: str) -> None:
    """Append a line. Raises FileNotFoundError if the supervisor has recorded a final state and removed the note."""
    _write(path, os.O_APPEND, f"{line}\n")


def _write(path: str, flags: int, text: str) -> None:
    """Write by system calls: Python's file objects need memory pages that are not shared with the supervisor."""
    descriptor = os.open(path, os.O_WRONLY | flags, 0o600)
    try:
        os.write(descriptor, text.encode("ascii", "backslashreplace"))
    finally:
        os.close(descriptor)
