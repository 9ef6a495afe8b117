"""Inside: run a command with the variables and in the directory of a running element."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from slurm.schedulers.local_queue import notes
from slurm.schedulers.local_queue.wire import directory

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Become a command: `id_task word…`. Returns 1 if the element does not run, 127 if there is no such command."""
    element, *command = argv
    note = notes.read(f"{directory()}/running/{element if '_' in element else f'{element}_0'}")
    script = note.script if note else None
    if script is None or not script.alive:
        sys.stderr.write(f"job {element} does not run\n")
        return 1
    try:
        pid = _call(script.pid)
        with open(f"/proc/{pid}/environ", "rb") as file:
            pairs = (item.partition(b"=") for item in file.read().split(b"\0") if item)
            environ = {name: value for name, _, value in pairs}
        os.chdir(f"/proc/{pid}/cwd")
        os.execvpe(command[0], command, {**environ, b"TERM": os.environb.get(b"TERM", b"dumb")})
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be run beside job {element}: {error}\n")
        return 127


def _call(script: int) -> str:
    """Return the process that the script has started, which has the variables of its lines; else the script."""
    try:
        with open(f"/proc/{script}/task/{script}/children", encoding="ascii") as file:
            return (file.read().split() or [str(script)])[0]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return str(script)
