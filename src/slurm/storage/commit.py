"""Commit: write files that no process may replace, so that only one of several processes can be the first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from slurm.errors import ConnectionLost, TransportError
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurm.transports.base import Transport

_TRIES = 3
"""How often a text is written if the connection breaks meanwhile."""


def commit(transport: Transport, directory: str, files: Mapping[str, bytes]) -> frozenset[str]:
    """Write files that do not exist yet in a directory; return the names of those written.

    See `JobStore.commit`. Raises TransportError.
    """
    hidden = f"{directory}/.{os.urandom(4).hex()}"
    transport.put(hidden, files)
    done = transport.run(["sh", "-c", program(__name__, "commit.sh"), "sh", hidden], timeout=300)
    if done.status != 0:
        raise TransportError(f"cannot write to {directory}: {done.words}")
    return frozenset(done.stdout.split())


def commit_same(transport: Transport, wanted: Mapping[str, Iterable[str]], text: str) -> Mapping[str, frozenset[str]]:
    """Write one text, which no other process writes, under names in directories, where they do not exist yet.

    Takes one command, which is repeated if the connection breaks. Returns the names that have this text now, by
    directory. A missing directory is made. Raises TransportError.
    """
    lines = "".join(f"{at}\n{''.join(f' {name}{chr(10)}' for name in names)}" for at, names in wanted.items())
    scripts = program(__name__, "commit_same.sh"), program(__name__, "commit.sh")
    argv = ["sh", "-c", scripts[0], "sh", scripts[1], f".{os.urandom(4).hex()}", text]
    for left in reversed(range(_TRIES)):
        try:
            done = transport.run(argv, stdin=lines.encode(), timeout=300)
            break
        except ConnectionLost:
            if not left:
                raise
    found = done.stdout.split("\n")[:-1]
    if done.status != 0 or found[-1:] != ["end"]:
        raise TransportError(f"cannot write to {', '.join(wanted)}: {done.words}")
    written: dict[str, set[str]] = {at: set() for at in wanted}
    at = ""
    for line in found[:-1]:
        if line.startswith(" "):
            written[at].add(line[1:])
        else:
            at = line
    return {at: frozenset(names) for at, names in written.items()}
