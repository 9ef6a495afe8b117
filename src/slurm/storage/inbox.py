"""Inbox: sends messages to calls, as numbered records in the directory of their submission."""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError, ConnectionLost, ProtocolError, TransportError
from slurm.protocol import INBOX
from slurm.protocol.messages import Message
from slurm.protocol.ranges import bounds
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurm.transports.base import Transport

_TRIES = 3
"""How often to send a message if the connection breaks. It is stored only once."""
_MOST_BYTES = 1 << 20
"""The most bytes of a record: calls read them while they run."""


def message_record(value: Any, calls: Iterable[int], *, stop: bool = False) -> bytes:
    """Return the record of a message. With `stop`, it asks the calls to stop instead of having a value.

    Raises ConfigurationError for a value that JSON cannot represent, or for a record over 1 MiB.
    """
    try:
        json.dumps(value)
        record = Message(
            id=os.urandom(8).hex(), calls=bounds(calls), time=time.time(), sender=sender(), message=value, stop=stop
        ).dumps()
        Message.loads(record, where="the message")
    except (TypeError, ValueError, RecursionError, ProtocolError) as error:
        raise ConfigurationError(
            f"a message is a JSON value of at most {_MOST_BYTES} bytes; this one is not: {error}"
        ) from error
    if len(record) > _MOST_BYTES:
        raise ConfigurationError(
            f"a message is a JSON value of at most {_MOST_BYTES} bytes; this one takes {len(record)}. Write large data "
            "to a file that the job can read, and send its path"
        )
    return record


def send(transport: Transport, directory: str, record: bytes) -> int:
    """Store a message in the inbox of a submission's directory, by one command. Returns its number.

    Raises TransportError.
    """
    return append(transport, f"{directory}/{INBOX}", record, parents="")


def append(transport: Transport, directory: str, record: bytes, *, parents: str = "-p") -> int:
    """Store a record that equals no other record in a directory, under the next free number, and return the number.

    Takes one command. Makes the directory, and its missing parents unless `parents` is empty. Raises TransportError.
    """
    argv = ["sh", "-c", program(__name__, "send.sh"), "sh", directory]
    word = os.urandom(4).hex()
    for left in reversed(range(_TRIES)):
        again = "" if left == _TRIES - 1 else "again"
        try:
            done = transport.run([*argv, word, str(len(record)), again, parents], stdin=record, timeout=60)
        except ConnectionLost:
            if not left:
                raise
            continue
        if done.status != 0 or not done.stdout.strip().isdecimal():
            raise TransportError(f"the message cannot be stored in {directory}: {done.words}")
        return int(done.stdout)
    raise AssertionError


def ring(transport: Transport, directory: str) -> None:
    """Ring the bell of a directory, after a record was added to it in another way. Raises TransportError."""
    done = transport.run(["sh", "-c", 'printf %s "$2" >> "$1"', "sh", f"{directory}/bell", os.urandom(4).hex()])
    if done.status != 0:
        raise TransportError(f"{directory}/bell cannot be written: {done.words}")


def sender() -> str:
    """Return who sends from this process, as user@host."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name
        return f"{os.getuid()}@{socket.gethostname()}"
