"""ClientFiles: the directory of one client of a pool. Others write only the claims, answers and results in it."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from slurm.errors import PoolError, ProtocolError, TransportError
from slurm.protocol import CALLS, CLIENTS, INDEX
from slurm.protocol.frames import ARGUMENTS, BLOCK, CANCEL, CLOSED, Head, encode, encode_head
from slurm.protocol.pools import BLOCKS, RETRY, pack, unpack
from slurm.serialization.calls import packed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slurm.pools.pool_files import PoolFiles
    from slurm.pools.relayed_files import RelayedFiles, Written

_log = logging.getLogger(__name__)

_LONGEST_PAUSE = 5.0
_PIECE_BYTES = 4 << 20
"""Large values are sent to a relay in pieces of this size: it needs as much memory, and a message has 2 GB at most."""
_UNCONFIRMED_BYTES = 8 << 20
"""After this many bytes of arguments, the client waits until they are written, and then writes their blocks."""


class ClientFiles:
    """Writes the functions and blocks of a client. `lock` is held during each write."""

    def __init__(self, files: PoolFiles | RelayedFiles, directory: str, number: int, inline: int | None) -> None:
        self.files, self.directory, self.number = files, directory, number
        self.inline = inline
        """Larger arguments (in bytes) get separate files; None if the elements of the pool cannot read such files."""
        self.next_block = 0
        self.offset = 0
        """The offset of the next frame in the file `calls`."""
        self.elements = 0
        """The number of elements of an elastic pool. The head of the next block tells it to the elements."""
        self._functions: set[bytes] = set()
        self._interrupted = False
        self._sent: deque[Written | None] = deque()
        self._unconfirmed = 0  # bytes of arguments
        self._waiting: deque[tuple[int, int, bytes]] = deque()  # block, offset and frame: written after the arguments
        self.lock = threading.RLock()

    @classmethod
    def create(cls, files: PoolFiles | RelayedFiles, pool: str, elements: int, *, inline: int | None) -> ClientFiles:
        """Make the directory of another client of a pool. Raises OSError and SlurmError."""
        number = files.create_client(pool, elements, os.urandom(6).hex())
        return cls(files, f"{pool}/{CLIENTS}/{number}", number, inline)

    def add_function(self, data: bytes, head: int, retry: str = "") -> bytes:
        """Write what calls share, unless it was written: `calls.pkl` without calls, and the text of their `Retry`.

        Return the digest of what was written. Raises OSError and SlurmError.
        """
        index, token = packed([head, len(data)]), os.urandom(6).hex()
        hashed = hashlib.sha256(index)
        hashed.update(data)
        hashed.update(retry.encode())
        digest = hashed.digest()
        if digest not in self._functions:
            files = {INDEX: index, **({RETRY: retry.encode()} if retry else {})}
            if len(data) <= _PIECE_BYTES:
                files[CALLS] = data
            else:
                self._write_shared(digest.hex(), token, memoryview(data))
            self.files.add_function(self.directory, digest.hex(), token, files)
            self._functions.add(digest)
        return digest

    def _write_shared(self, digest: str, token: str, data: memoryview) -> None:
        sent = [
            self.files.write_shared(self.directory, digest, token, at, data[at : at + _PIECE_BYTES])
            for at in range(0, len(data), _PIECE_BYTES)
        ]
        for each in sent:
            self.files.wait(each)

    def add_arguments(self, first: int, calls: Sequence[bytes]) -> Sequence[bytes]:
        """Write large arguments to files. Return the bytes that the block holds for each call: none for these calls.

        A complete file needs no rename, because nobody looks for it before a block refers to it.
        """
        if self.inline is None or all(len(data) <= self.inline for data in calls):
            return calls
        with self.lock:
            return [self._in_block(number, data) for number, data in enumerate(calls, first)]

    def add_block(
        self,
        digest: bytes,
        first: int,
        calls: Sequence[bytes],
        *,
        places: bytes = b"",
        attempt: int = 1,
        unfinished: int = 0,
    ) -> None:
        """Write a block of calls, the first of which has the number `first`. `flush` waits until it is written.

        All calls in blocks before the number `unfinished` have ended, so elements that start late skip these blocks.

        Raises PoolError if the write of an earlier block was interrupted: it is not known which part was written.
        """
        with self.lock:
            head = Head(
                BLOCK,
                self.next_block,
                first=first,
                calls=len(calls),
                attempt=attempt,
                ended=unfinished,
                worker=self.elements,
            )
            self._write(encode(head, pack(digest, calls, places)))
            self.next_block += 1

    def read_block(self, offset: int) -> tuple[bytes, int, list[bytes], bytes]:
        """Read a block that was written: its function, its first call, its calls, and the places of results.

        Raises OSError and SlurmError.
        """
        found = self.files.frame(f"{self.directory}/{BLOCKS}", offset)
        if found is None:
            raise ProtocolError(f"{self.directory}/{BLOCKS} is damaged: it has no block at {offset}")
        digest, calls, places = unpack(found[1])
        return bytes.fromhex(digest), Head(*found[0]).first, calls, places

    def cancel(self, calls: range) -> None:
        """Write that some calls are cancelled. Raises as `add_block` does."""
        self._write(encode(Head(CANCEL, self.next_block, first=calls.start, calls=len(calls))))
        self.flush()

    def close(self) -> None:
        """Write that no more calls follow."""
        self._write(encode(Head(CLOSED, self.next_block)))
        self.flush()

    def flush(self) -> None:
        """Wait until everything is written."""
        with self.lock:
            self._confirm()
            self._unconfirmed = 0
            self._write_waiting()
            self._confirm()

    def write_waiting(self) -> None:
        """Write the blocks that wait for arguments, after these arguments have been written."""
        with self.lock:
            if self._waiting:
                self.flush()

    def _write_waiting(self) -> None:
        while self._waiting:
            self._try(lambda: self._sent.append(self.files.write(self.directory, *self._waiting[0])))
            self._waiting.popleft()

    def _confirm(self) -> None:
        while self._sent:
            self._try(lambda: self.files.wait(self._sent[0]))
            self._sent.popleft()

    def _in_block(self, number: int, data: bytes) -> bytes:
        if self.inline is None or len(data) <= self.inline:
            return data
        head, view = encode_head(Head(ARGUMENTS, number), data), memoryview(data)
        self._write_arguments(number, 0, head + view[:_PIECE_BYTES])
        for at in range(_PIECE_BYTES, len(data), _PIECE_BYTES):
            self._write_arguments(number, len(head) + at, view[at : at + _PIECE_BYTES])
        return b""

    def _write_arguments(self, number: int, offset: int, data: bytes | memoryview) -> None:
        self._try(lambda: self._sent.append(self.files.write_arguments(self.directory, number, offset, data)))
        self._unconfirmed += len(data)

    def _write(self, frame: bytes) -> None:
        with self.lock:
            if self._interrupted:
                raise PoolError(
                    "a call was interrupted while it was written, so this pool takes no more: make a new one"
                )
            self._interrupted = True
            self._waiting.append((self.next_block, self.offset, frame))
            if not self._unconfirmed:
                self._write_waiting()
            self.offset += len(frame)
            self._interrupted = False
            if self._unconfirmed > _UNCONFIRMED_BYTES:
                self.flush()

    def _try(self, write: Callable[[], None]) -> None:
        """Repeat a write until it succeeds: elements may have seen a part of it, so nothing else may follow there."""
        pause = 0.1
        while True:
            try:
                return write()
            except (OSError, TransportError) as error:
                _log.warning("calls of a pool cannot be written, trying again: %s", error)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
