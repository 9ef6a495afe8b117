"""The first process of a container: runs a command, and ends with it or with the job.

A container that an engine starts is not a child of the job, so the end of the job does not end it. Therefore its
standard input is a pipe whose other end the job holds. Each line names a signal for the command. The end of the input
means that the job is gone. The Python of the image runs this module; nothing needs to be installed.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

GRACE = 10.0
"""Seconds that a command has after SIGTERM to save its state."""


def main(argv: list[str]) -> int:
    """Run a command. Returns its exit status in the form of a shell."""
    child = _start(argv)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    inputs: list[int] = [0, woken]
    deadline: float | None = None

    def pass_on(number: int, _: object) -> None:
        nonlocal deadline
        os.kill(child, number)
        if number == signal.SIGTERM:  # the only signal that Slurm sends with an oci.conf
            deadline = deadline or time.monotonic() + GRACE

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, pass_on)
    while deadline is None or time.monotonic() < deadline:
        ready = select.select(inputs, [], [], None if deadline is None else 0.1)[0]
        if woken in ready:
            os.read(woken, 512)
        if 0 in ready:
            names = os.read(0, 512).decode()
            for name in names.split() or ["TERM"]:
                os.kill(child, getattr(signal, f"SIG{name}"))
            if not names:
                inputs, deadline = [woken], time.monotonic() + GRACE
        status = _reap(child)
        if status is not None:
            return status
    return 128 + signal.SIGKILL


def _start(argv: list[str]) -> int:
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        try:
            os.execvp(argv[0], argv)
        except OSError as error:
            print(f"{argv[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        os._exit(127)
    return child


def _reap(child: int) -> int | None:
    """Reap ended processes. Returns the exit status of the command once it has ended."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        if not pid:
            return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))  # then the kernel kills the rest of the container
