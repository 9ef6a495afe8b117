"""Journal: the finished calls of an element of several calls, for the next attempt.

Each attempt writes its own file, so that an attempt that still runs on a lost node cannot damage the file of the next
attempt. The file is created only if the calls take longer than `SECONDS`, and is removed when there is an outcome.
`position` is a call's position in its element, from 0.
"""

from __future__ import annotations

import contextlib
import os
import time

from slurm.protocol import RESULTS
from slurm.protocol.files import open_own
from slurm.protocol.outcomes import CallFailure
from slurm.protocol.records import TYPE_CHECKING, encode
from slurm.runner.job_context import print_to_log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from slurm.runner.job_context import JobContext

    Done = bytes | CallFailure

SECONDS = 1.0
"""The time between two writes. If an attempt dies, the calls since the last write are lost, and run again."""
_KIND, _POSITION_BYTES, _LENGTH_BYTES = 1, 4, 8
_HEAD_BYTES = _KIND + _POSITION_BYTES + _LENGTH_BYTES
_RESULT, _FAILURE, _BEGUN = b"r", b"f", b"b"
_READ_BYTES = 1 << 20


class Journal:
    """The finished calls of one element by position: for each a pickled result, or a failure."""

    def __init__(self, job: JobContext, element: int) -> None:
        self._paths = [f"{job.directory}/{RESULTS}/.{element}.{n}.journal" for n in range(1, job.attempt + 1)]
        self._unwritten: list[tuple[int, Done]] = []
        self._file: IO[bytes] | None = None
        self._written_at = time.monotonic()

    def earlier(self) -> dict[int, Done]:
        """Read the finished calls of earlier attempts."""
        return {position: done for path in self._paths[:-1] for position, done in _read(path)}

    def add(self, position: int, done: Done) -> bool:
        """Add a finished call; calls are written at most once per `SECONDS`. Returns whether they were written now."""
        self._unwritten.append((position, done))
        now = time.monotonic()
        if now - self._written_at >= SECONDS:
            self._written_at = now
            self._write()
            return True
        return False

    def finish(self) -> None:
        """Write all finished calls, for the next attempt, and close the file."""
        self._write()
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def remove(self) -> None:
        """Remove the files of all attempts, because the element has its outcome."""
        self.close()
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _write(self) -> None:
        if self._file is None:
            descriptor = os.open(self._paths[-1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(descriptor, "wb")
        for position, done in self._unwritten:
            self._file.writelines(frame(position, done))
        self._file.flush()
        self._unwritten.clear()


def frame(position: int, done: Done | None) -> tuple[bytes, bytes]:
    """Encode that a call has finished or, if `done` is None, has begun: a head and a body, to be written together."""
    if isinstance(done, CallFailure):
        kind, body = _FAILURE, encode(done.to_json()).encode()
    else:
        kind, body = (_BEGUN, b"") if done is None else (_RESULT, done)
    return kind + position.to_bytes(_POSITION_BYTES, "little") + len(body).to_bytes(_LENGTH_BYTES, "little"), body


def frames(buffer: bytearray) -> Iterator[tuple[int, Done | None]]:
    """Remove the complete frames from the front of a buffer and decode them."""
    while len(buffer) >= _HEAD_BYTES:
        end = _HEAD_BYTES + int.from_bytes(buffer[_HEAD_BYTES - _LENGTH_BYTES : _HEAD_BYTES], "little")
        if len(buffer) < end:
            return
        kind, body = buffer[:_KIND], bytes(buffer[_HEAD_BYTES:end])
        position = int.from_bytes(buffer[_KIND : _KIND + _POSITION_BYTES], "little")
        del buffer[:end]
        yield position, None if kind == _BEGUN else body if kind == _RESULT else _failure(bytes(kind), body)


def _read(path: str) -> Iterator[tuple[int, Done]]:
    """Yield the finished calls in a journal.

    An incomplete last frame, everything after an invalid frame, and an unreadable file are skipped: these calls run
    again.
    """
    buffer = bytearray()
    try:
        with open_own(path) as file:
            while data := file.read(_READ_BYTES):
                buffer += data
                yield from ((position, done) for position, done in frames(buffer) if done is not None)
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, RecursionError) as error:
        print_to_log(f"cannot read all of {path} ({error}); the calls that are missing from it run again\n")


def _failure(kind: bytes, data: bytes) -> CallFailure:
    import json  # noqa: PLC0415 - only for a failed call from an earlier attempt or a worker

    from slurm.protocol.checking import read  # noqa: PLC0415 - as json

    if kind != _FAILURE:
        raise ValueError(f"unknown kind of frame {kind!r}")
    return read(CallFailure, json.loads(data))
