"""InlineTransport: run commands and read files on this machine; commands of the inline queue are function calls."""

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
    """Answers commands of the inline queue in this process, and runs other commands as processes.

    Files are on disk, because the runner opens them by path. Scripts for `sh -s` get the path where the queue listens.
    """

    shares_files = streams = False  # no other process can serve calls while this one continues

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
        """Run a command in this process or on this machine."""
        if tuple(argv[: len(CLIENT)]) == CLIENT:
            status, text = server.run(argv[len(CLIENT) :])
            return Completed(tuple(argv), status, "" if status else text, text if status else "")
        if list(argv) == ["sh", "-s"]:
            stdin = f"export SLURMTASKS_INLINE={shlex.quote(server.directory())}\n".encode() + stdin
        return super().run(argv, stdin=stdin, timeout=timeout)
