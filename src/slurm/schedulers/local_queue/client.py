"""Asking the supervisor, which is started if there is none."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
import traceback
from typing import Any

from slurm.schedulers.local_queue.supervisor import Supervisor
from slurm.schedulers.local_queue.wire import Unanswered, directory, exchange

_START_SECONDS = 10.0


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """Send a request to the supervisor of this user and machine, which is started if there is none.

    One that goes away without an answer is replaced, and asked again; but never to submit, which it may have done.
    """
    place = directory()
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            return exchange(place, request)
        except (FileNotFoundError, ConnectionError, Unanswered) as error:
            sent, slow = isinstance(error, Unanswered), isinstance(error.__cause__, TimeoutError)
            if sent and (slow or request["do"] == "submit"):
                raise
            if time.monotonic() > end:
                message = f"its supervisor doesn't answer; see {place}/supervisor.log"
                raise TimeoutError(message) from None
            _start(place)
            time.sleep(0.01)


def _start(place: str) -> None:
    """Fork a supervisor that belongs to nobody. Only one can hold the lock; another that starts meanwhile goes away."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            _detach(place)
            _supervise(place)
    except BaseException:  # noqa: BLE001 - the child of a fork must not return into its parent's code
        traceback.print_exc()
    finally:
        os._exit(0)


def _detach(place: str) -> None:
    os.chdir("/")
    os.umask(0o077)
    log = os.open(f"{place}/supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    os.closerange(3, 256)


def _supervise(place: str) -> None:
    lock = os.open(f"{place}/lock", os.O_WRONLY | os.O_CREAT, 0o600)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{place}/socket")
            listener.bind(f"{place}/socket")
            listener.listen(64)
            Supervisor(place, listener).run()
