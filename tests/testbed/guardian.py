"""The process that owns a testbed's daemons and outlives its starter just long enough to clean up.

Run as a program of its own with two arguments, the testbed's directory and the pid of its owner. It reads one
JSON object a line and answers each with one:

- `{"do": "start", "argv": [...], "env": {...}, "output": PATH}` -> `{"pid": PID}` or `{"error": TEXT}`
- `{"do": "signal", "pid": PID, "signal": NUMBER}` -> `{"alive": BOOL}`; number 0 only asks
- `{"do": "own", "cgroup": PATH}` -> `{}`: this cgroup goes with it, if it is there then
- `{"do": "stop"}` is not answered

On stop, at the end of its input, when its owner is gone or on SIGTERM, it kills every process that descends
from it, removes its cgroups and the directory and exits: with status 1 if a process would not die.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_OWNER_CHECK_SECONDS = 1.0
_KILL_SECONDS = 10.0


class Guardian:
    """Starts, signals and reaps daemons as lines on the standard input ask."""

    def __init__(self, owner: int) -> None:
        self._owner = owner
        self._running: set[int] = set()
        self._cgroups: list[str] = []

    def serve(self) -> None:
        """Answer requests until told to stop or until the owner is gone."""
        wakeup = _wakeup_on(signal.SIGCHLD, signal.SIGTERM)
        unread = b""
        # The pipe alone doesn't tell that the owner died: a process that the owner forked may still hold its
        # other end.
        while os.getppid() == self._owner:
            ready, _, _ = select.select([0, wakeup], [], [], _OWNER_CHECK_SECONDS)
            if wakeup in ready and signal.SIGTERM in os.read(wakeup, 512):
                return
            self.reap()
            if 0 not in ready:
                continue
            received = os.read(0, 65536)
            *lines, unread = (unread + received).split(b"\n")
            for request in map(json.loads, lines):
                if request["do"] == "stop":
                    return
                os.write(1, json.dumps(self._answer(request)).encode() + b"\n")
            if not received:
                return

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "start":
            try:
                pid = _spawn(request["argv"], request["env"], request["output"])
            except OSError as error:
                return {"error": str(error)}
            self._running.add(pid)
            return {"pid": pid}
        if request["do"] == "own":
            self._cgroups.append(request["cgroup"])
            return {}
        # A pid stays taken until it is reaped, which happens only here: the signal cannot hit a stranger.
        self.reap()
        if request["pid"] in self._running:
            os.kill(request["pid"], request["signal"])
        return {"alive": request["pid"] in self._running}

    def reap(self) -> bool:
        """Take leave of every child that has ended; say whether any child is left."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self._running.discard(pid)

    def kill_all(self) -> bool:
        """Kill all descendants; say whether none is left.

        Only children are killed, whose pids nobody else can free. Their own children then become ours, this
        process being the subreaper, so repeating it reaches everyone, also a process that left its session or
        process group.
        """
        deadline = time.monotonic() + _KILL_SECONDS
        while self.reap():
            for pid in _children():
                with suppress(PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def remove_cgroups(self) -> None:
        """Remove its cgroups, each with those below; one that a process is left in stays."""
        for cgroup in self._cgroups:
            # Not shutil.rmtree: a cgroup's files can't be deleted and go with it.
            for directory, _, _ in os.walk(cgroup, topdown=False):
                with suppress(OSError):
                    Path(directory).rmdir()


def _wakeup_on(*signals: signal.Signals) -> int:
    """Return a descriptor from which the numbers of these signals can be read as bytes."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for each in signals:
        signal.signal(each, lambda _number, _frame: None)
    return reader


def _spawn(argv: list[str], env: dict[str, str], output: str) -> int:
    return os.posix_spawn(
        argv[0],
        argv,
        env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        # Ignored here, by us or by Python: an ignored signal would stay ignored in the daemon and in its
        # jobs.
        setsigdef=[signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ],
    )


def _children() -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name before the last parenthesis may hold anything; state and ppid follow it.
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


def main() -> int:
    """Guard until the end, then clean up."""
    directory, owner = sys.argv[1:]
    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.chdir(directory)  # a daemon that dumps core does it where it works
    guardian = Guardian(int(owner))
    try:
        with suppress(BrokenPipeError):
            guardian.serve()
    finally:
        clean = guardian.kill_all()
        guardian.remove_cgroups()
        shutil.rmtree(directory, ignore_errors=True)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
