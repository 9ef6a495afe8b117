"""The wire between commands and the supervisor: one JSON request and one reply over a Unix socket."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

_ANSWER_SECONDS = 10.0
FORM = "2"
"""The form of requests and of the files kept: part of the directory's name, so that two versions never meet."""

REFUSED = "the local scheduler refuses: "
"""How a command's words begin if it has asked for nothing, or was refused; other words leave open what was done."""


class Refused(OSError):
    """The supervisor doesn't do what it was asked for."""


class Unanswered(OSError):
    """A request was sent and not answered: it may have been done, or may be yet."""


def place() -> str:
    """Where the supervisor's own directory is."""
    path = os.environ.get("SLURMTASKS_LOCAL_DIR") or f"/tmp/slurm-tasks-{os.getuid()}"  # noqa: S108 - see `directory`
    return os.path.join(path, FORM)


def directory() -> str:
    """The supervisor's own directory, on this machine's own disk: SLURMTASKS_LOCAL_DIR, or one under /tmp.

    Raises PermissionError if somebody else has made it.
    """
    path = place()
    os.makedirs(path, mode=0o700, exist_ok=True)
    status = os.stat(path)
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        message = f"{path} is not yours alone; remove it, or set SLURMTASKS_LOCAL_DIR to a directory of your own"
        raise PermissionError(message)
    return path


def exchange(place: str, request: dict[str, Any]) -> dict[str, Any]:
    """Send a request to the supervisor that listens at a place.

    Raises Refused for what it refuses, Unanswered if it doesn't answer, another OSError if there is none to ask.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        connection.connect(f"{place}/socket")
        try:
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            reply = receive(connection)
        except OSError as error:
            raise Unanswered(str(error)) from error
    if not reply:
        raise Unanswered("the supervisor went away")
    answer: dict[str, Any] = json.loads(reply)
    if "error" in answer:
        raise Refused(answer["error"])
    return answer


def receive(connection: socket.socket) -> bytes:
    """All that the other side sends until it shuts its side down."""
    chunks = []
    while chunk := connection.recv(1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)
