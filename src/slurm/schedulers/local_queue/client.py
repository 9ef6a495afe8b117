"""Client of the supervisor: one request and one reply over a Unix socket. Starts a supervisor if none runs."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

from slurm.schedulers.local_queue.messages import Done, Refused, Stop, decode, decode_as, encode
from slurm.schedulers.local_queue.processes import launch
from slurm.schedulers.local_queue.wire import NO_ANSWER, directory

if TYPE_CHECKING:
    from slurm.schedulers.local_queue.messages import Message

ANSWER_SECONDS = 10.0


class NoAnswer(Exception):
    """The supervisor did not answer in time, so it is unknown whether it accepted the request."""


class RequestRefused(Exception):
    """The supervisor rejected the request; nothing was done."""


def ask(request: tuple[Any, ...], reply: type[Message]) -> Message:
    """Send a request to the supervisor of this user and machine, and return its reply, a message of the kind `reply`.

    If the supervisor dies, the request is sent to the next one, which recognizes a submission by its token. Raises
    RequestRefused, NoAnswer, or OSError if the supervisor's directory cannot be used.
    """
    path = directory()
    data = encode(request)
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            answer = _exchange(path, data, end)
        except (FileNotFoundError, ConnectionError):
            launch(path)
        except (BlockingIOError, TimeoutError):  # its backlog is full, or it is slow
            pass
        except PermissionError:  # another user's directory; nothing was sent
            raise
        except OSError as error:
            raise NoAnswer(f"{NO_ANSWER}: {error}") from error
        else:
            return _read(answer, reply)
        if time.monotonic() > end:
            raise NoAnswer(f"{NO_ANSWER} within {ANSWER_SECONDS:.0f} s; see {path}/supervisor.log")
        time.sleep(0.02)


def _read(answer: bytes, reply: type[Message]) -> Message:
    try:
        found = decode(answer)
        if isinstance(found, Refused):
            raise RequestRefused(found.reason)
        return decode_as(reply, answer)
    except ValueError as error:
        raise NoAnswer(f"{NO_ANSWER} that can be read: {error}") from error


def stop() -> None:
    """Cancel everything and stop the supervisor."""
    ask(Stop(), Done)


def _exchange(path: str, data: bytes, end: float) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(max(0.01, end - time.monotonic()))
        connection.connect(f"{path}/socket")
        with contextlib.suppress(BrokenPipeError):  # it rejected the request before it had read all; the reply says why
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        reply = bytearray()
        while True:
            connection.settimeout(max(0.01, end - time.monotonic()))
            if not (chunk := connection.recv(1 << 16)):
                break
            reply += chunk
    if not reply:
        raise ConnectionResetError("the supervisor closed the connection")
    return bytes(reply)
