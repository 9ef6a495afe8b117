"""Journal: what an element of several calls has done so far, for the attempt after this one.

An attempt writes a journal of its own, so that one that lives on beside its successor (on a node that was given up)
spoils nothing. It is begun only when the calls take long enough to be worth it, and gone once there is an outcome.
"""

from __future__ import annotations

import contextlib
import os
import time

from slurm.files import open_own
from slurm.protocol import RESULTS, CallFailure
from slurm.records import TYPE_CHECKING, encode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from slurm.runner.job_context import JobContext

    Done = bytes | CallFailure

SECONDS = 1.0
"""How much work an attempt may lose: calls of the last so many seconds run again."""
_LENGTH_BYTES = 8
_RESULT, _FAILURE = b"r", b"f"


class Journal:
    """The calls of one element that are done, in order: a pickled result each, or a failure."""

    def __init__(self, job: JobContext, element: int) -> None:
        self._paths = [f"{job.directory}/{RESULTS}/.{element}.{n}.journal" for n in range(1, job.attempt + 1)]
        self._unwritten: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._written_at = time.monotonic()

    def earlier(self) -> list[Done]:
        """What the attempts before this one have done: that of them which came furthest."""
        found = max((list(_read(path)) for path in self._paths[:-1]), key=len, default=[])
        for done in found:
            self._unwritten.append(_frame(done))
        return found

    def note(self, done: Done) -> None:
        """Add a call that is done; it is written with those of the same second."""
        self._unwritten.append(_frame(done))
        now = time.monotonic()
        if now - self._written_at >= SECONDS:
            self._written_at = now
            self._write()

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
        self._file.write(b"".join(self._unwritten))
        self._file.flush()
        self._unwritten.clear()


def _frame(done: Done) -> bytes:
    kind, data = (_RESULT, done) if isinstance(done, bytes) else (_FAILURE, encode(done.to_json()).encode())
    return kind + len(data).to_bytes(_LENGTH_BYTES, "little") + data


def _read(path: str) -> Iterator[Done]:
    """The whole frames of a journal; one that was being written when its attempt died is passed over."""
    try:
        file = open_own(path)
    except FileNotFoundError:
        return
    with file:
        while len(head := file.read(1 + _LENGTH_BYTES)) == 1 + _LENGTH_BYTES:
            length = int.from_bytes(head[1:], "little")
            data = file.read(length)
            if len(data) < length:
                return
            yield data if head[:1] == _RESULT else _failure(data)


def _failure(data: bytes) -> CallFailure:
    import json  # noqa: PLC0415 - only where an attempt went before and a call failed

    return CallFailure.from_json(json.loads(data))
