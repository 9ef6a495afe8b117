"""Processes: identify a process, fork a monitor, and launch the supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_IMPORTED_FROM = os.path.abspath(__file__).rsplit(os.sep, 4)[0]
"""The directory, or the zip, that this package was imported from."""
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from slurm.schedulers.local_queue.supervisor import main; main(sys.argv[2])"
)

_MOST_LOGGED = 10**6
"""Bytes of the supervisor's log. A new supervisor keeps one older log, as supervisor.log.1."""


class Process(NamedTuple):
    """A process: its pid and its start time."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this pid now."""
        return cls(pid, born(pid))

    @property
    def alive(self) -> bool:
        """Whether it still runs. A later process with its pid is another process."""
        return self.born != "" and born(self.pid) == self.born


def born(pid: int) -> str:
    """Return when a process began: Linux's clock ticks since boot, elsewhere the text of `ps`. "" if it has ended."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            fields = os.read(descriptor, 4096).rpartition(b")")[2].split()
        finally:
            os.close(descriptor)
        return "" if fields[0] in b"ZX" else fields[19].decode()  # proc(5): field 22, starttime
    except (FileNotFoundError, ProcessLookupError):
        if os.path.isdir("/proc/self"):
            return ""
    import subprocess  # noqa: PLC0415 - only without /proc

    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()


def log(message: str) -> None:
    """Add a line to the supervisor's log, which is its standard error."""
    sys.stderr.write(f"{time.ctime()}: {message}\n")


def fork(body: Callable[[], int]) -> int:
    """Run `body` in a child that leads its own session, with SIGTERM blocked. Returns the child's pid.

    The child exits with the status that `body` returns. It closes all descriptors except the standard ones.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    try:
        child = os.fork()
        if child == 0:
            _run(body)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return child


def _run(body: Callable[[], int]) -> None:
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        _close_descriptors()
        os._exit(body())
    except BaseException:  # noqa: BLE001 - the child of a fork must not return into its parent's code
        traceback.print_exc()
    finally:
        os._exit(1)


def _close_descriptors() -> None:
    """Close all descriptors except the standard ones."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def launch(directory: str) -> None:
    """Start a detached supervisor: for a command that finds none, or for a monitor whose supervisor was killed.

    Only one supervisor can hold the lock; another that starts at the same time exits. It executes a new Python, because
    forking elements is cheaper from a small process.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            _detach(directory)
            os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", _BOOT, _IMPORTED_FROM, directory])
    except BaseException:  # noqa: BLE001 - the child of a fork must not return into its parent's code
        traceback.print_exc()
    finally:
        os._exit(0)


def _detach(directory: str) -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:  # nohup(1) and the like are for the client
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.chdir("/")
    os.umask(0o077)
    path = f"{directory}/supervisor.log"
    with contextlib.suppress(FileNotFoundError):
        if os.stat(path).st_size > _MOST_LOGGED:
            os.replace(path, f"{path}.1")
    log_file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log_file), (2, log_file)):
        os.dup2(source, target)
    _close_descriptors()
