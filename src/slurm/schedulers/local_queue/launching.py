"""Launch a supervisor: for a command that finds none, or for a monitor whose supervisor was killed."""

from __future__ import annotations

import os
import signal
import sys
import traceback

_IMPORTED_FROM = os.path.abspath(__file__).rsplit(os.sep, 4)[0]
"""The directory, or the zip, that this package was imported from."""
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from slurm.schedulers.local_queue.supervisor import main; main(sys.argv[2])"
)


def launch(directory: str) -> None:
    """Start a supervisor that belongs to nobody. Only one can hold the lock; another that starts meanwhile goes away.

    It executes a Python of its own: elements are forked from it, which costs the less the smaller it is.
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
    log = os.open(f"{directory}/supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
