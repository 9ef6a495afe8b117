"""Element: serves the calls of a pool's clients until it has been idle for some time, or its time limit is near.

An element reads the blocks that clients write, claims one for each idle worker, and writes the answers of its workers.
"""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

from slurm.protocol import CLIENTS, freshness
from slurm.protocol.claims import Claims
from slurm.protocol.frames import BLOCK, CANCEL, CLOSED, HERE, FrameReader, Head, encode, write_at
from slurm.protocol.pools import BLOCKS, OUT, outbox_name
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.job_context import current_job, print_to_log
from slurm.runner.pools.worker import Piece, WorkerSettings
from slurm.runner.pools.workers import Workers

if TYPE_CHECKING:
    from slurm.runner.job_context import JobContext

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.5
_FOREIGN_SECONDS = 0.005
"""After this many seconds, an element also claims blocks that are in the share of another element."""
_BUSY_SECONDS = 0.1
"""While all workers are busy, no calls are claimed. The files are then read at this interval, for cancellations."""
_SYNC_SECONDS, _REPORT_SECONDS, _WARN_SECONDS = 1.0, 2.0, 10.0
_DEFAULTS = WorkerSettings()


class _Seen(NamedTuple):
    """A block that may be unclaimed."""

    head: Head
    offset: int
    since: float


def pool(
    element: int | None,
    elements: int,
    workers: int,
    idle: float,
    seconds: float | None,
    settings: WorkerSettings = _DEFAULTS,
) -> int:
    """Serve as element `element` of a pool; return the number of calls made.

    For an elastic pool, `element` is None: elements are added and end, and there are at most `elements` at a time.

    Ends after `idle` seconds without a claim, or when all clients have closed. Takes no more calls after `seconds`
    seconds.
    """
    job = current_job()
    with_workers = Workers(job, elements, workers, settings)
    return _Element(job, element, elements, with_workers, idle=idle, seconds=seconds).run()


class _Client:
    """The files of one client, as an element uses them."""

    def __init__(self, job: JobContext, number: int, element: int) -> None:
        directory = f"{job.directory}/{CLIENTS}/{number}"
        name = outbox_name(element, job.attempt)
        self.number, self.closed, self.written = number, False, 0
        self._calls = FrameReader(f"{directory}/{BLOCKS}")
        self._claims = Claims(directory, name)
        self._outbox, self._offset = f"{directory}/{OUT}/{name}", 0
        self._unwritten = bytearray(encode(Head(HERE, element), f"{job.host}\n{job.job_id}".encode()))
        self._synced_at = time.monotonic()
        self._warned_at = 0.0
        self._unsynced = False
        self.seen: deque[_Seen] = deque()
        self.elements = 0
        """The number of elements that an elastic pool had when the last block was written."""
        self._first = 0
        """All calls in blocks before this number have ended."""
        self.cancelled: list[range] = []
        """The calls to cancel that were read but not handled yet."""

    def look(self) -> bool:
        """Read the heads of new blocks; return whether there are any."""
        now, before = time.monotonic(), self._calls.offset
        try:
            for head, offset in self._calls.heads():
                self.closed = self.closed or head.kind == CLOSED
                if head.kind == BLOCK:
                    self.seen.append(_Seen(head, offset, now))
                    self.written, self.elements = max(self.written, head.first + head.calls), head.worker
                    self._first = max(self._first, int(head.ended))
                elif head.kind == CANCEL:
                    self.cancelled.append(range(head.first, head.first + head.calls))
        except OSError as error:
            self._warn(f"calls cannot be read, trying again: {error}\n")
        return self._calls.offset > before

    def claim(self, element: int, elements: int, *, elastic: bool) -> _Seen | None:
        """Claim a block, and return it; None if there is none. Blocks in the shares of other elements come later.

        An elastic pool has no shares: its elements try waiting blocks at different positions.
        """
        now = time.monotonic()
        for _ in range(len(self.seen)):
            at = element % min(elements, len(self.seen)) if elastic else 0
            block = self.seen[at]
            del self.seen[at]
            if block.head.number < self._first:  # trying to claim ended blocks would delay late elements
                continue
            if not elastic and block.head.number % elements != element and now - block.since < _FOREIGN_SECONDS:
                self.seen.append(block)
            else:
                try:
                    if self._claims.claim(block.head.number):
                        return block
                except OSError as error:
                    self.seen.appendleft(block)
                    self._warn(f"calls cannot be claimed, trying again: {error}\n")
                    return None
        return None

    def answer(self, frame: bytes) -> None:
        """Keep an answer until `write` writes it."""
        self._unwritten += frame

    def write(self) -> bool:
        """Write the answers. After an error, returns False; the answers are kept, and written at this offset later."""
        now = time.monotonic()
        sync = now - self._synced_at > _SYNC_SECONDS
        if not self._unwritten and not (sync and self._unsynced):
            return True
        try:
            write_at(self._outbox, self._offset, self._unwritten, sync=sync)
        except OSError as error:
            self._warn(f"answers cannot be written, trying again: {error}\n")
            return False
        self._offset += len(self._unwritten)
        self._unwritten.clear()
        self._unsynced = not sync
        self._synced_at = now if sync else self._synced_at
        return True

    def _warn(self, text: str) -> None:
        if time.monotonic() - self._warned_at > _WARN_SECONDS:
            self._warned_at = time.monotonic()
            print_to_log(text)

    def finish(self) -> None:
        """Write and sync all answers, however long it takes."""
        self._synced_at, self._unsynced = -_SYNC_SECONDS, True
        while not self.write():
            time.sleep(_LONGEST_PAUSE)


class _Report:
    """Reports the work of an element as its progress: the calls made, its workers, and the calls that were written."""

    def __init__(self, job: JobContext) -> None:
        self._job = job
        self._at, self._made, self._last = 0.0, 0, (-1, (0, 0), 0)

    def update(self, *, made: int, workers: tuple[int, int], written: int, at_end: bool = False) -> None:
        """Report these numbers if they have changed; not too often, except at the end. `workers` is (all, busy)."""
        now, facts = time.monotonic(), (made, workers, written)
        if facts == self._last or (now - self._at < _REPORT_SECONDS and not at_end):
            return
        rate = (made - self._made) / (now - self._at) if self._at else 0.0
        self._at, self._made, self._last = now, made, facts
        try:
            self._job.progress(made, workers=workers[0], busy=workers[1], written=written, rate=round(rate, 1))
        except OSError:
            return  # a failed report must not stop the calls


class _Element:
    def __init__(
        self,
        job: JobContext,
        element: int | None,
        elements: int,
        workers: Workers,
        *,
        idle: float,
        seconds: float | None,
    ) -> None:
        self._job, self._elements, self._workers, self._elastic = job, elements, workers, element is None
        self._element = job.index if element is None else element
        self._idle, self._end = idle, None if seconds is None else time.monotonic() + seconds
        self._clients: list[_Client] = []
        self._claimed_at, self._clients_at, self._looked_at, self._calls = time.monotonic(), 0.0, 0.0, 0
        self._report = _Report(job)

    def run(self) -> int:
        try:
            self._serve()
        finally:
            self._workers.shutdown()
            for client in self._clients:
                client.finish()
        return self._calls

    def _serve(self) -> None:
        pause = _SHORTEST_PAUSE
        while not self._may_leave():
            writable = self._write()
            begin = time.monotonic()
            found = self._look()
            took = 0.0 if found else min(time.monotonic() - begin, 0.005)
            shortest = max(_SHORTEST_PAUSE, 20 * took, 0.001 * self._living)
            claimed = writable and self._claim()
            waiting = any(client.seen for client in self._clients) and self._workers.idle
            pause = shortest if found or claimed or waiting else min(2 * pause, _LONGEST_PAUSE)
            for client, frame in self._workers.answers(pause):
                self._clients[client].answer(frame)
                pause = shortest
            self._tell()
        self._tell(at_end=True)

    def _tell(self, *, at_end: bool = False) -> None:
        written = sum(client.written for client in self._clients)
        self._report.update(made=self._workers.made, workers=self._workers.counts, written=written, at_end=at_end)

    def _write(self) -> bool:
        return sum(client.write() for client in self._clients) == len(self._clients)

    def _look(self) -> bool:
        """Look for new clients (rarely), and for what clients have written (rarely if no worker is idle)."""
        now = time.monotonic()
        if now - self._clients_at > _LONGEST_PAUSE:
            self._clients_at = now
            while freshness.exists(f"{self._job.directory}/{CLIENTS}/{len(self._clients)}"):
                self._clients.append(_Client(self._job, len(self._clients), self._element))
        if not self._workers.idle and now - self._looked_at < _BUSY_SECONDS:
            return False
        self._looked_at, found = now, False
        for client in self._clients:
            found = client.look() or found
            while client.cancelled:
                self._workers.cancel(client.number, client.cancelled.pop())
        return found

    def _claim(self) -> bool:
        """Claim a block for each idle worker, from each client in turn; return whether any was claimed."""
        claimed, more = False, self._takes_calls
        while more:
            more = False
            for client in self._clients:
                if not self._workers.idle:
                    break
                if block := client.claim(self._element, self._elements, elastic=self._elastic):
                    first, count = block.head.first, block.head.calls
                    self._workers.give(Piece(client.number, block.offset, first, first + count))
                    self._calls += block.head.calls
                    claimed = more = True
        if claimed:
            self._claimed_at = time.monotonic()
        return claimed

    @property
    def _living(self) -> int:
        """The number of elements that are not known to have ended."""
        return max((client.elements for client in self._clients), default=1) if self._elastic else self._elements

    @property
    def _takes_calls(self) -> bool:
        return self._end is None or time.monotonic() < self._end

    def _may_leave(self) -> bool:
        """Whether no call is being made, and none will be made."""
        if self._workers.busy:
            self._claimed_at = time.monotonic()
            return False
        closed = bool(self._clients) and all(client.closed and not client.seen for client in self._clients)
        return closed or not self._takes_calls or time.monotonic() - self._claimed_at > self._idle
