"""ClientFiles: the directory of one client of a pool. This process writes it, but for claims, answers and results."""

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
from slurm.protocol.frames import BLOCK, CANCEL, CLOSED, Head, encode
from slurm.protocol.pools import BLOCKS, RETRY, pack, unpack
from slurm.serialization.calls import packed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slurm.pools.pool_files import PoolFiles
    from slurm.pools.relayed_files import RelayedFiles, Written

_log = logging.getLogger(__name__)

_LONGEST_PAUSE = 5.0


class ClientFiles:
    """Writes the functions and blocks of a client. `lock` is held while something is written."""

    def __init__(self, files: PoolFiles | RelayedFiles, directory: str, number: int) -> None:
        self.files, self.directory, self.number = files, directory, number
        self.next_block = 0
        self.offset = 0
        """At which the next frame will be in `calls`."""
        self.elements = 0
        """The number of elements of an elastic pool. The head of the next block contains it, for the elements."""
        self._functions: set[bytes] = set()
        self._interrupted = False
        self._sent: deque[Written | None] = deque()
        self.lock = threading.RLock()

    @classmethod
    def create(cls, files: PoolFiles | RelayedFiles, pool: str, elements: int) -> ClientFiles:
        """Make the directory of another client of a pool. Raises OSError and SlurmError."""
        number = files.create_client(pool, elements, os.urandom(6).hex())
        return cls(files, f"{pool}/{CLIENTS}/{number}", number)

    def add_function(self, data: bytes, head: int, retry: str = "") -> bytes:
        """Write what calls share, unless it is there: `calls.pkl` without calls, and the text of their `Retry`.

        Return its digest. Raises OSError and SlurmError.
        """
        digest = hashlib.sha256(packed([head, len(data)]) + data + retry.encode()).digest()
        if digest not in self._functions:
            files = {CALLS: data, INDEX: packed([head, len(data)]), **({RETRY: retry.encode()} if retry else {})}
            self.files.add_function(self.directory, digest.hex(), files)
            self._functions.add(digest)
        return digest

    def add_block(
        self, digest: bytes, first: int, calls: Sequence[bytes], *, places: bytes = b"", attempt: int = 1
    ) -> None:
        """Write a block of calls, the first of which has the number `first`. `flush` waits until it is written.

        Raises PoolError if an earlier block was interrupted while it was written: what is there of it is not known.
        """
        with self.lock:
            head = Head(BLOCK, self.next_block, first=first, calls=len(calls), attempt=attempt, worker=self.elements)
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
        """Wait until all is written."""
        with self.lock:
            while self._sent:
                self._try(lambda: self.files.wait(self._sent[0]))
                self._sent.popleft()

    def _write(self, frame: bytes) -> None:
        with self.lock:
            if self._interrupted:
                raise PoolError(
                    "a call was interrupted while it was written, so this pool takes no more: make a new one"
                )
            self._interrupted = True
            self._try(lambda: self._sent.append(self.files.write(self.directory, self.next_block, self.offset, frame)))
            self.offset += len(frame)
            self._interrupted = False

    def _try(self, write: Callable[[], None]) -> None:
        """Write, again until it succeeds: nothing else may be written there, as elements may have seen a part of it."""
        pause = 0.1
        while True:
            try:
                return write()
            except (OSError, TransportError) as error:
                _log.warning("calls of a pool cannot be written, trying again: %s", error)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
