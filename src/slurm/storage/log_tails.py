"""Log tails: reads the last lines of many logs by one command, however long they are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from slurm.protocol import stderr_log
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.transports.base import Transport

_BYTES, _LINES = 4000, 10
"""The number of bytes to read from the end of a log, and the most lines to return."""


def tails(transport: Transport, paths: Sequence[str]) -> Mapping[str, str]:
    """Return the last lines of each log, as a terminal would show them; empty for one that cannot be read.

    If standard error has a log of its own that is not empty, returns the end of that log instead.
    """
    if not paths:
        return {}
    errors = {path: stderr_log(path) for path in paths if path.endswith(".log")}
    found = _tails(transport, [*paths, *errors.values()])
    return {path: found.get(errors.get(path, "")) or text for path in paths if (text := found.get(path)) is not None}


def _tails(transport: Transport, paths: Sequence[str]) -> dict[str, str]:
    mark = f"--{os.urandom(12).hex()}"
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    done = transport.run(["sh", "-c", program(__name__, "tails.sh"), "sh", mark, str(_BYTES)], stdin=names, timeout=300)
    parts = done.stdout.split(f"\n{mark}\n")[1:]
    return {path: _last_lines(part) for path, part in zip(paths, parts, strict=False)}


def _last_lines(text: str) -> str:
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip().split("\n")[-_LINES:])
