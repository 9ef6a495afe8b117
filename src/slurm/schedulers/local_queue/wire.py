"""The wire between commands and the supervisor: one JSON request and one reply over a Unix socket."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from slurm.protocol.directories import socket_directory, socket_place

_ANSWER_SECONDS = 10.0
FORM = "2"
"""The form of requests and of the files kept: part of the directory's name, so that two versions never meet."""


def place() -> str:
    """Where the supervisor's own directory is."""
    return os.path.join(socket_place(), FORM)


def directory() -> str:
    """The supervisor's own directory, on this machine's own disk: in SLURMTASKS_LOCAL_DIR, or under /tmp.

    Made if it isn't there. Raises PermissionError if others could reach what is in it.
    """
    return socket_directory(FORM)


def exchange(place: str, request: dict[str, Any]) -> dict[str, Any]:
    """Send a request to the supervisor that listens at a place. Raises OSError, also for what it refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_SECONDS)
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
