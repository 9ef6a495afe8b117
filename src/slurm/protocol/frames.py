"""Frames: the parts of a pool's files. Each frame has a head with checksums, and a body.

A client writes blocks of calls to `calls`, and an element writes answers to `out/<e>.<attempt>`. Large arguments are
the only frame of a file. Each file has one writer, which writes every frame at its own offset: after an error, it
writes the same bytes at the same offset again. So a reader never mistakes a part of one frame for the beginning of
another. A frame is complete once its checksums match.
"""

from __future__ import annotations

import os
import time
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from slurm.protocol.files import open_own
from slurm.protocol.freshness import freshen_size
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

BLOCK, CLOSED, CANCEL = 1, 2, 3
"""The kinds of frames in `calls`: calls to make; that no more calls follow; and calls to cancel, from `first` on."""
ARGUMENTS = 4
"""The kind of the frame in a file with the pickled arguments of one call. Its number is the number of the call."""
RESULT, FAILURE, LARGE, HERE, BEGUN, CANCELLED, BROKEN = 11, 12, 13, 14, 15, 16, 17
"""The kinds of answers: a pickled result; a CallFailure as JSON; a ResultRecord as JSON, for a result in a separate
file; the host and the job id of the element; the start of a call, which an outbox has only for long calls; the
cancellation of a call; and, only from a worker to its parent, a failure of the initializer, with the error as text."""

_MAGIC = b"slf"
_HEAD = Struct("<3sBQQIIddIQI")
_CHECKSUM = Struct("<I")
HEAD_BYTES = _HEAD.size + _CHECKSUM.size
_READ_BYTES = 1 << 20
_HEADS_BYTES = 1 << 16
"""The bytes to read at once for heads. Not more, because the bytes of bodies among them are not used."""


class Head(NamedTuple):
    """The head of a frame."""

    kind: int
    number: int
    """For a block, its number; for an answer, the number of the call."""
    first: int = 0
    """For a block, its first call; for an answer, the offset of the call's output in the log of the worker."""
    calls: int = 0
    """For a block, the number of its calls; for an answer, the number of bytes that the call has printed."""
    attempt: int = 1
    began: float = 0.0
    ended: float = 0.0
    """Seconds since the epoch, by the node's clock. For a block, `ended` is the number of the first block with calls
    that had not ended when this block was written."""
    worker: int = 0
    """The number of the worker in its element, from 1; in a block for an elastic pool, the number of elements then."""
    length: int = 0
    """The number of bytes of the body."""
    checksum: int = 0
    """The CRC-32 of the body."""

    def fits(self, body: bytes) -> bool:
        """Whether this is the whole body of the frame."""
        return len(body) == self.length and crc32(body) == self.checksum


class Frame(NamedTuple):
    """A frame of a file, and the offset at which it begins."""

    head: Head
    offset: int
    body: bytes


def encode(head: Head, body: bytes = b"") -> bytes:
    """Return the bytes of a frame. The length and the checksum in its head are computed from the body."""
    return encode_head(head, body) + body


def encode_head(head: Head, body: bytes) -> bytes:
    """Return the bytes of a frame before its body."""
    packed = _HEAD.pack(_MAGIC, *head[:-2], len(body), crc32(body))
    return packed + _CHECKSUM.pack(crc32(packed))


def head_at(data: bytes | bytearray, at: int = 0) -> Head | None:
    """Return the head at an offset; None if it is not complete there."""
    if len(data) < at + HEAD_BYTES:
        return None
    magic, *fields = _HEAD.unpack_from(data, at)
    (checksum,) = _CHECKSUM.unpack_from(data, at + _HEAD.size)
    return Head(*fields) if magic == _MAGIC and crc32(data[at : at + _HEAD.size]) == checksum else None


def complete(buffer: bytearray) -> Iterator[tuple[Head, bytes]]:
    """Remove the complete frames from the front of the bytes of a pipe. Yields their heads and their bytes."""
    at = 0
    while (head := head_at(buffer, at)) and len(buffer) >= at + HEAD_BYTES + head.length:
        end = at + HEAD_BYTES + head.length
        yield head, bytes(buffer[at:end])
        at = end
    del buffer[:at]


class FrameReader:
    """Reads the frames of a growing file, each frame once."""

    def __init__(self, path: str) -> None:
        self.path, self.offset = path, 0

    def frames(self) -> Iterator[Frame]:
        """Yield the frames that have been added. Opens the file again, because only then does it see remote writes.

        Raises OSError, and UntrustedFile if another user can write to the file.
        """
        freshen_size(self.path)
        with open_own(self.path) as file:
            size = _READ_BYTES
            while data := os.pread(file.fileno(), size, self.offset):
                at, needed = 0, 0
                while head := head_at(data, at):
                    begin, needed = at + HEAD_BYTES, at + HEAD_BYTES + head.length
                    if needed > len(data):
                        break
                    body = data[begin:needed]
                    if not head.fits(body):
                        return
                    self.offset += needed - at
                    yield Frame(head, self.offset - (needed - at), body)
                    at = needed
                if not at and needed <= size:  # the frame is not complete yet
                    return
                size = _READ_BYTES if at else needed

    def heads(self) -> Iterator[tuple[Head, int]]:
        """Yield the heads that have been added, with their offsets. The bodies are not read, and may come later."""
        freshen_size(self.path)
        with open_own(self.path) as file:
            while data := os.pread(file.fileno(), _HEADS_BYTES, self.offset):
                at = 0
                while head := head_at(data, at):
                    yield head, self.offset
                    at += HEAD_BYTES + head.length
                    self.offset += HEAD_BYTES + head.length
                if not at:
                    return


def read_frame(path: str, offset: int) -> Frame | None:
    """Read the frame at an offset of a file; None if it is not complete there. Raises as `FrameReader` does."""
    with open_own(path) as file:
        head = head_at(os.pread(file.fileno(), HEAD_BYTES, offset))
        body = _read(file, head.length, offset + HEAD_BYTES) if head else b""
    return Frame(head, offset, body) if head and head.fits(body) else None


def wait_for_frame(path: str, offset: int, seconds: float) -> Frame:
    """Read a frame that is at least partly in the file. The rest may appear later.

    Network file systems show the parts of a file in any order. Raises OSError if the frame is incomplete after
    `seconds`.
    """
    end = time.monotonic() + seconds
    while (frame := read_frame(path, offset)) is None:
        if time.monotonic() > end:
            raise OSError(f"{path}: what is written at {offset} is damaged")
        time.sleep(0.02)
        freshen_size(path)
    return frame


def _read(file: IO[bytes], length: int, offset: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def write_at(path: str, offset: int, data: bytes | bytearray | memoryview, *, sync: bool = False) -> None:
    """Write bytes at an offset of a file, and close it. Makes the file if it is missing.

    After an OSError, some of the bytes may be in the file: write the same bytes at the same offset again.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
