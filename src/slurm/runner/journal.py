"""Journal: what an element of several calls has done so far, for the attempt after this one.

An attempt writes a journal of its own, so that one that lives on beside its successor (on a node that was given up)
spoils nothing. It is begun only when the calls take long enough to be worth it, and gone once there is an outcome.
"""

from __future__ import annotations

import contextlib
import os
import time

from slurm.protocol import RESULTS
from slurm.protocol.files import open_own
from slurm.protocol.outcomes import CallFailure
from slurm.protocol.records import TYPE_CHECKING, encode
from slurm.runner.job_context import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from slurm.runner.job_context import JobContext

    Done = bytes | CallFailure

SECONDS = 1.0
"""How much work an attempt may lose: calls of the last so many seconds run again."""
_KIND, _PLACE_BYTES, _LENGTH_BYTES = 1, 4, 8
_HEAD_BYTES = _KIND + _PLACE_BYTES + _LENGTH_BYTES
_RESULT, _FAILURE, _BEGUN = b"r", b"f", b"b"
_READ_BYTES = 1 << 20


class Journal:
    """The calls of one element that are done, by their places in it: a pickled result each, or a failure."""

    def __init__(self, job: JobContext, element: int) -> None:
        self._paths = [f"{job.directory}/{RESULTS}/.{element}.{n}.journal" for n in range(1, job.attempt + 1)]
        self._unwritten: list[tuple[int, Done]] = []
        self._file: IO[bytes] | None = None
        self._written_at = time.monotonic()

    def earlier(self) -> dict[int, Done]:
        """What the attempts before this one have done."""
        return {place: done for path in self._paths[:-1] for place, done in _read(path)}

    def note(self, place: int, done: Done) -> None:
        """Add a call that is done; it is written with those of the same second."""
        self._unwritten.append((place, done))
        now = time.monotonic()
        if now - self._written_at >= SECONDS:
            self._written_at = now
            self._write()

    def keep(self) -> None:
        """Write all of it, for the attempt after this one."""
        self._write()
        self.close()

    def close(self) -> None:
        """Write no more."""
        if self._file is not None:
            self._file.close()

    def remove(self) -> None:
        """The element has its outcome: no attempt will ask for this again."""
        self.close()
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _write(self) -> None:
        if self._file is None:
            descriptor = os.open(self._paths[-1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(descriptor, "wb")
        for place, done in self._unwritten:
            self._file.writelines(frame(place, done))
        self._file.flush()
        self._unwritten.clear()


def frame(place: int, done: Done | None) -> tuple[bytes, bytes]:
    """What says that a call is done, or, with None, that it has begun: a head and a body, to be written together."""
    if isinstance(done, CallFailure):
        kind, body = _FAILURE, encode(done.to_json()).encode()
    else:
        kind, body = (_BEGUN, b"") if done is None else (_RESULT, done)
    return kind + place.to_bytes(_PLACE_BYTES, "little") + len(body).to_bytes(_LENGTH_BYTES, "little"), body


def frames(buffer: bytearray) -> Iterator[tuple[int, Done | None]]:
    """Take the whole frames from the front of a buffer, and give what they say."""
    while len(buffer) >= _HEAD_BYTES:
        end = _HEAD_BYTES + int.from_bytes(buffer[_HEAD_BYTES - _LENGTH_BYTES : _HEAD_BYTES], "little")
        if len(buffer) < end:
            return
        kind, body = buffer[:_KIND], bytes(buffer[_HEAD_BYTES:end])
        place = int.from_bytes(buffer[_KIND : _KIND + _PLACE_BYTES], "little")
        del buffer[:end]
        yield place, None if kind == _BEGUN else body if kind == _RESULT else _failure(bytes(kind), body)


def _read(path: str) -> Iterator[tuple[int, Done]]:
    """What a journal says; a frame that was being written when its attempt died is passed over.

    So is all from a frame on that isn't one, and a file that can't be read: those calls run again.
    """
    buffer = bytearray()
    try:
        with open_own(path) as file:
            while data := file.read(_READ_BYTES):
                buffer += data
                yield from ((place, done) for place, done in frames(buffer) if done is not None)
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, RecursionError) as error:
        say(f"{path} can't be read to its end ({error}); what it doesn't tell of runs again\n")


def _failure(kind: bytes, data: bytes) -> CallFailure:
    import json  # noqa: PLC0415 - only where a call failed, and an attempt went before or a worker tells of it

    from slurm.protocol.checking import read  # noqa: PLC0415 - the same

    if kind != _FAILURE:
        raise ValueError(f"there is no frame of kind {kind!r}")
    return read(CallFailure, json.loads(data))
