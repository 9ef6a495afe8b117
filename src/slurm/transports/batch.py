"""Batches: runs several commands in one round trip."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from slurm.errors import TransportError
from slurm.transports.base import Completed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.transports.base import Transport


def run_together(transport: Transport, commands: Sequence[Sequence[str]], *, timeout: float) -> list[Completed]:
    """Run commands in order, without input, even if some fail. Raises TransportError."""
    fence = f"--{os.urandom(12).hex()}"
    mark = rf"printf '%s %s\n' {fence} $?; printf '%s\n' {fence} >&2"
    script = "\n".join(f"({shlex.join(argv)}) < /dev/null; {mark}" for argv in commands)
    done = transport.run(["sh", "-s"], stdin=script.encode(), timeout=timeout)
    outputs, errors = done.stdout.split(f"{fence} "), done.stderr.split(f"{fence}\n")
    if len(outputs) <= len(commands) or len(errors) <= len(commands):
        message = f"the commands were cut off before the last one finished: {done.words}"
        raise TransportError(message)
    found: list[Completed] = []
    for argv, error, output, after in zip(commands, errors, outputs, outputs[1:], strict=False):
        text = output.partition("\n")[2] if found else output  # its first line is the status of the previous command
        found.append(Completed(tuple(argv), int(after.partition("\n")[0]), text, error))
    return found
