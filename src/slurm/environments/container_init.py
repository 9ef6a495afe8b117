"""The first process of a container: runs a command, and ends with it, or when nobody is left who wants it.

A container that an engine has started isn't a child of the job: what ends the job doesn't end it. So its input is a
pipe whose other end the job holds. A line of it is a signal's name, for the command; its end says that the job is
gone, however that ended. The image's Python runs it, with nothing installed.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

GRACE = 10.0
"""Seconds for a command to save what it has after SIGTERM."""


def main(argv: list[str]) -> int:
    """Run a command; returns its exit status, as a shell has it."""
    child = _started(argv)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    inputs: list[int] = [0, woken]
    deadline: float | None = None

    def pass_on(number: int, _: object) -> None:
        nonlocal deadline
        os.kill(child, number)
        if number == signal.SIGTERM:  # of who ends the container, and may know of no other signal: Slurm by oci.conf
            deadline = deadline or time.monotonic() + GRACE

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, pass_on)
    while deadline is None or time.monotonic() < deadline:
        ready = select.select(inputs, [], [], None if deadline is None else 0.1)[0]
        if woken in ready:
            os.read(woken, 512)
        if 0 in ready:
            told = os.read(0, 512).decode()
            for name in told.split() or ["TERM"]:
                os.kill(child, getattr(signal, f"SIG{name}"))
            if not told:
                inputs, deadline = [woken], time.monotonic() + GRACE
        status = _reaped(child)
        if status is not None:
            return status
    return 128 + signal.SIGKILL


def _started(argv: list[str]) -> int:
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        try:
            os.execvp(argv[0], argv)
        except OSError as error:
            print(f"{argv[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        os._exit(127)
    return child


def _reaped(child: int) -> int | None:
    """Take the ends of processes; the exit status once it was the command's."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        if not pid:
            return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))  # the kernel kills whatever is left of the container then
