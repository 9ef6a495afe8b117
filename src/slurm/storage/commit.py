"""Commit: write files that no process may replace, so that one of several processes is the first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from slurm.errors import TransportError
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.transports.base import Transport


def commit(transport: Transport, directory: str, files: Mapping[str, bytes]) -> frozenset[str]:
    """Write files that do not exist yet in a directory; return the names of those written.

    See `JobStore.commit`. Raises TransportError.
    """
    hidden = f"{directory}/.{os.urandom(4).hex()}"
    transport.put(hidden, files)
    done = transport.run(["sh", "-c", program(__name__, "commit.sh"), "sh", hidden], timeout=300)
    if done.status != 0:
        message = f"cannot write to {directory}: {done.words}"
        raise TransportError(message)
    return frozenset(done.stdout.split())
