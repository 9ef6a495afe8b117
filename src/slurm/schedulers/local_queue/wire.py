"""How a command reaches the supervisor: one JSON request and one reply over a Unix socket; it is started if need be."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
import traceback
from typing import Any

_START_SECONDS = 10.0
_FORM = "1"
"""The form of requests and of the files kept: part of the directory's name, so that two versions never meet."""


def directory() -> str:
    """The supervisor's own directory, on this machine's own disk: SLURMTASKS_LOCAL_DIR, or one under /tmp.

    Raises PermissionError if somebody else has made it.
    """
    path = os.environ.get("SLURMTASKS_LOCAL_DIR") or f"/tmp/slurm-tasks-{os.getuid()}"  # noqa: S108 - checked below
    path = os.path.join(path, _FORM)
    os.makedirs(path, mode=0o700, exist_ok=True)
    status = os.stat(path)
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        message = f"{path} is not yours alone; remove it, or set SLURMTASKS_LOCAL_DIR to a directory of your own"
        raise PermissionError(message)
    return path


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """Send a request to the supervisor of this user and machine, which is started if there is none."""
    place = directory()
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            return _exchange(place, request)
        except (FileNotFoundError, ConnectionError):
            if time.monotonic() > end:
                message = f"its supervisor doesn't answer; see {place}/supervisor.log"
                raise TimeoutError(message) from None
            _start(place)
            time.sleep(0.01)


def _exchange(place: str, request: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_START_SECONDS)
        connection.connect(f"{place}/socket")
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        reply = receive(connection)
    if not reply:
        raise ConnectionResetError("the supervisor went away")
    answer: dict[str, Any] = json.loads(reply)
    if "error" in answer:
        raise OSError(answer["error"])
    return answer


def receive(connection: socket.socket) -> bytes:
    """All that the other side sends until it shuts its side down."""
    chunks = []
    while chunk := connection.recv(1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)


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
    from slurm.schedulers.local_queue.supervisor import Supervisor  # noqa: PLC0415 - not for a mere question

    lock = os.open(f"{place}/lock", os.O_WRONLY | os.O_CREAT, 0o600)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{place}/socket")
            listener.bind(f"{place}/socket")
            listener.listen(64)
            Supervisor(place, listener).run()
