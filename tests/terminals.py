"""A terminal of some width, for the command `slurm`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import sys
import termios


def at_terminal(columns: int, *argv: str, **variables: str) -> list[str]:
    """What the command sends to a terminal of some width, in lines."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        os.execve(sys.executable, [sys.executable, "-m", "slurm", *argv], inherited | variables)
    sent = b""
    with contextlib.suppress(OSError):  # it has ended
        while data := os.read(terminal, 65536):
            sent += data
    os.waitpid(pid, 0)
    os.close(terminal)
    return sent.decode().splitlines()
