"""InlineTransport: this process and its files; commands of the inline queue are function calls."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from slurm.testing.inline import server
from slurm.testing.inline.scheduler import CLIENT
from slurm.transports.base import Completed
from slurm.transports.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Sequence


class InlineTransport(LocalTransport):
    """Answers commands of the inline queue itself, and runs others as processes.

    Files are on disk, because the runner opens them by their paths. Scripts for `sh -s` learn where the queue listens.
    """

    shares_files = streams = False  # no process serves calls while this one goes on

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
        """Run a command here."""
        if tuple(argv[: len(CLIENT)]) == CLIENT:
            status, text = server.run(argv[len(CLIENT) :])
            return Completed(tuple(argv), status, "" if status else text, text if status else "")
        if list(argv) == ["sh", "-s"]:
            stdin = f"export SLURMTASKS_INLINE={shlex.quote(server.directory())}\n".encode() + stdin
        return super().run(argv, stdin=stdin, timeout=timeout)
