"""PoolCalls: follows the calls of one client of a pool. Calls end within milliseconds, so it uses its own thread."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from slurm.errors import PoolError, SlurmError
from slurm.pools.answers import Answers
from slurm.pools.blocks import BLOCK_BYTES, Block, Blocks, check_sizes, ranges
from slurm.pools.calls_state import CallsState
from slurm.pools.growing_calls import GrowingCalls
from slurm.pools.growth import growth_of
from slurm.pools.held_calls import Held, HeldCalls, places
from slurm.pools.relayed_files import files_of
from slurm.pools.verdicts import Verdicts, cancelled, requeued
from slurm.protocol.claims import element_of
from slurm.protocol.frames import BLOCK, HEAD_BYTES, Head
from slurm.protocol.pools import BLOCKS
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from slurm.options.retry import Retry
    from slurm.places.place import Place
    from slurm.pools.client_files import ClientFiles
    from slurm.protocol.outcomes import Outcome
    from slurm.serialization.pickling import Reference
    from slurm.submission.submission_state import SubmissionState

_log = logging.getLogger(__name__)

_SHORTEST_PAUSE, _PAUSE_OF_MANY, _LONGEST_PAUSE = 0.001, 0.004, 0.5
_MANY = 16
"""If more blocks than this have no answer, answers are read less often, because many come together."""
_EAGERNESS = 0.05
"""The pause between two reads, as a fraction of the time since the last answer or the last call."""
_LINGER = 5.0
"""Seconds that the thread waits for more calls."""
_CONCLUDE_SECONDS, _WARN_SECONDS = 1.0, 10.0
_RARE_SECONDS, _FEW = 5.0, 64
"""The seconds between two checks for requeued elements, and for cancellations of the oldest blocks by other processes;
and the number of blocks that are checked."""
_CANCELLED, _ENDED = "cancelled", "ended"
"""The names in claims by clients: the calls of the block are cancelled, or no element is left to make them."""


class PoolCalls(GrowingCalls):
    """The calls of a client of a pool: an `OutcomeSource`, and the `Server` of their submission.

    Without `files`, they are the calls of a client in another process, and only that process writes them.
    """

    def __init__(self, place: Place, key: str, pool: SubmissionState, files: ClientFiles | None = None) -> None:
        self._place, self._pool, self._files = place, pool, files
        self._directory = f"{place.store.directory(pool.key)}{key.removeprefix(pool.key)}"
        self._pool_files = files.files if files else files_of(place)
        self._heads_until = 0
        self._changed, self._reading = threading.Condition(), threading.RLock()
        self._growth = growth_of(place, pool)
        self._answers = Answers(place.transport, self._pool_files, self._directory, self._wake)
        self.state = CallsState(key, pool, self._answers.worker_of)
        self.state.server, self._answers.when_begun = self, self.state.note_begun
        self._verdicts = Verdicts(place, pool)
        self._known, self._ended = 0, set()
        self._gone: set[int] = set()  # the ended elements of an elastic pool whose calls have all ended
        self.held = HeldCalls(place, self._state_of, self.follow)
        self._blocks = Blocks(self._changed)
        self._thread: threading.Thread | None = None
        self._news = False
        self._concluded_at = self._added_at = self._warned_at = 0.0
        self.learn_elements() if self._growth is None else self._growth.add_client(self)
        place.outcomes.add(key, self)

    def submit(
        self,
        digest: bytes,
        calls: Sequence[bytes],
        *,
        needs: Sequence[frozenset[Reference]],
        after: tuple[tuple[Reference, str], ...],
        retry: Retry | None,
        size: int,
    ) -> range:
        """Write calls in blocks of at most `size` calls, except those that wait for jobs; return the numbers of all.

        Waits while too many calls have no answer. Raises PoolError, and NoSuchJob if a job to wait for does not exist.
        """
        if self._own_files.inline is None:
            check_sizes(calls)
        waits = [bool(some) or bool(after) for some in needs]
        for key in {each.key for each in (*frozenset().union(*needs), *(each for each, _ in after))}:
            self._state_of(key)
        numbers, at = self.state.grow(len(calls)), 0
        while at < len(calls):
            end, written = at + 1, len(calls[at])
            if waits[at]:
                self.held.add(Held(numbers[at], digest, calls[at], retry, needs[at], after))
            else:
                while end < min(at + size, len(calls)) and not waits[end] and written + len(calls[end]) <= BLOCK_BYTES:
                    written += len(calls[end])
                    end += 1
                if not self._blocks.has_room:
                    self._own_files.write_waiting()
                    self.follow()
                    self._blocks.wait_for_room()
                self.add(digest, numbers[at], calls[at:end], retry=retry)
            at = end
        self._own_files.flush()
        self.follow()
        return numbers

    def add(
        self,
        digest: bytes,
        first: int,
        calls: Sequence[bytes],
        *,
        retry: Retry | None,
        places: bytes = b"",
        attempt: int = 1,
        size: int | None = None,
    ) -> None:
        """Write a block of calls, and expect answers to them. `size` is the bytes of all arguments. Raises PoolError.

        A call with empty arguments has them in a file that was written for an earlier attempt.
        """
        files = self._own_files
        with files.lock:
            numbers = range(first, first + len(calls))
            size = sum(map(len, calls)) if size is None else size
            calls = files.add_arguments(first, calls)  # before the block, so an interrupt here leaves none
            self._blocks.add(Block(files.next_block, numbers, files.offset, size, retry, attempt))
            unfinished = self._blocks.first
            files.add_block(digest, first, calls, places=places, attempt=attempt, unfinished=unfinished)

    def find(self) -> None:
        """Find the blocks that another process has written, and expect answers to them. Raises OSError, SlurmError."""
        with self._reading:
            for fields, offset in self._pool_files.heads(f"{self._directory}/{BLOCKS}", self._heads_until):
                head = Head(*fields)
                self._heads_until = offset + HEAD_BYTES + head.length
                if head.kind == BLOCK:
                    numbers = range(head.first, head.first + head.calls)
                    self.state.grow(max(0, numbers.stop - self.state.count))
                    if head.attempt > 1:
                        self._answers.expect(numbers, head.attempt)
                        self._blocks.end(numbers)
                    block = Block(head.number, numbers, offset, head.length, None, head.attempt)
                    block.left = {number for number in numbers if not self._answers.has(number)}
                    self._blocks.add(block)

    @property
    def _own_files(self) -> ClientFiles:
        if self._files is None:
            raise PoolError(f"calls of {self.state.key} can be added and ended only by the process that makes them")
        return self._files

    @property
    def unanswered(self) -> bool:
        """Whether any call has not ended."""
        return bool(self._blocks or self.held)

    @property
    def none_left(self) -> bool:
        """Whether all elements of the pool have ended, and none can be added."""
        return not self._others(self._ended)

    def _others(self, ended: Collection[int]) -> bool:
        """Whether there are elements that have not ended, or elements can be added."""
        return len(ended) < self._known or (self._growth is not None and not self._growth.why_over)

    @property
    def why_ended(self) -> str:
        """The reason why no element is left. Reads outcomes."""
        outcome = self._pool_ended(self._ended)
        return outcome.error.message if outcome.error else ""

    def _pool_ended(self, ended: Collection[int]) -> Outcome:
        return self._verdicts.pool_ended(ended, self._growth.why_over if self._growth else "")

    # The Server.

    def follow(self) -> None:
        """Read answers soon, and for as long as there are unfinished calls."""
        with self._changed:
            self._added_at = time.monotonic()
            self._changed.notify_all()
            if self._busy and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="slurm-pool", daemon=True)
                self._thread.start()
        if self._growth is not None and self._blocks:
            self._growth.follow()

    def query(self) -> None:
        """Report the states of unfinished calls. Claimed calls are reported as running: they run, or will run soon."""
        reports: dict[int, Report] = {}
        for block, name in self._claimed(self._blocks.all()):
            state = JobState.RUNNING if name else JobState.PENDING
            host = self._answers.host(element_of(name)[0]) if name and name not in (_CANCELLED, _ENDED) else ""
            why = self._growth.why_not if self._growth and not name else ""
            report = Report(self.state.job_id(0) or "", None, state, state.value, host, why)
            reports.update(dict.fromkeys(block.left.copy(), report))
        waits = Report("", None, JobState.PENDING, JobState.PENDING.value, "", "it waits for other calls")
        reports.update(dict.fromkeys(self.held.numbers, waits))
        self.state.add_reports(reports)

    def cancel(self, indices: Collection[int]) -> None:
        """Cancel calls: at once if no element has claimed them, otherwise through their element. Raises PoolError."""
        wanted, left = set(indices), list[int]()
        self._conclude(self.held.take(wanted), cancelled())
        some = [block for block in self._blocks.all() if block.left & wanted]
        whole = [block.number for block in some if block.left <= wanted]
        claimed = dict(zip(whole, self._pool_files.claim(self._directory, _CANCELLED, whole), strict=True))
        for block in some:
            if claimed.get(block.number):
                self._conclude(block.left, cancelled())
            else:
                left += wanted & block.left
        for calls in ranges(left):
            self._own_files.cancel(calls)
        self.follow()

    # The thread.

    def _element_ended(self, element: int) -> None:
        with self._changed:
            self._ended.add(element)
            self._concluded_at = 0.0
            self._changed.notify_all()
        self.follow()

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._busy, _LINGER):
                    self._thread = None
                    break
            begin = time.monotonic()
            found = False
            try:
                self._write_held()
                found = self._look()
            except Exception as error:  # noqa: BLE001 - this loop must live, or futures hang
                if begin - self._warned_at > _WARN_SECONDS:
                    _log.warning("answers to %s cannot be read, trying again: %s", self.state.key, error)
                    self._warned_at = begin
            now = time.monotonic()
            last = now if found else last
            with self._changed:
                took = 0.0 if found else min(now - begin, 0.005)
                shortest = max(
                    _PAUSE_OF_MANY if len(self._blocks) > _MANY else _SHORTEST_PAUSE,
                    20 * took,
                    0.001 * (self._known - len(self._gone)),
                )
                eager = _EAGERNESS * (now - max(last, self._added_at))
                if self._busy and not self._news:
                    self._changed.wait(max(shortest, min(eager, _LONGEST_PAUSE)))
                self._news = False
        self._answers.rest()

    def _wake(self) -> None:
        """Wake the thread, because a relay has brought answers."""
        with self._changed:
            self._news = True
            self._changed.notify_all()

    def _look(self) -> bool:
        """Read new answers, and conclude the calls that get no answer; return whether there were new answers."""
        ended, attempts = frozenset(self._ended), self._answers.attempts.copy()
        found = self._read()  # after the copies above, so all answers of ended elements and attempts are there
        new = ended - self._gone or not self._others(ended)
        if time.monotonic() - self._concluded_at > (_CONCLUDE_SECONDS if new else _RARE_SECONDS):
            self._concluded_at = time.monotonic()
            more = new or any(attempt > 1 for attempt in attempts.values())
            for block, name in self._claimed(self._blocks.all()[: None if more else _FEW]):
                self._conclude_if_over(block, name, ended, attempts)
            if self._growth is not None:
                self._gone |= ended
                self._answers.leave(ended)
            self._answers.look_for_attempts()
        return bool(found)

    def _read(self) -> frozenset[int]:
        """Read new answers; note and return the calls that they end. Raises the errors of `Answers.read`."""
        found: set[int] = set()
        try:
            with self._reading:
                if self._files is None:
                    self.find()
                try:
                    self._answers.read(found)
                finally:
                    self._blocks.end(found)
        finally:  # an element whose answers cannot be read must not delay the answers of others
            if found:
                self._place.tracker.learn(self.state, found)
        return frozenset(found)

    def _conclude_if_over(
        self, block: Block, name: str | None, ended: frozenset[int], attempts: Mapping[int, int]
    ) -> None:
        """Conclude calls that a client has cancelled, an ended element had claimed, or no element is left for."""
        others = self._others(ended)
        if name is None and not others and self._pool_files.claim(self._directory, _ENDED, [block.number])[0]:
            name = _ENDED
        if name == _CANCELLED:
            self._conclude(block.left, cancelled())
        elif name == _ENDED:
            if not others:
                self._conclude(block.left, self._pool_ended(ended))
        elif name:
            element, attempt = element_of(name)
            if attempt < attempts.get(element, 1):
                self._conclude_or_write_again(block, requeued(), others=True)
            elif element in ended:
                self._conclude_or_write_again(block, self._verdicts.of_element(element), others=others)

    def _conclude_or_write_again(self, block: Block, outcome: Outcome, *, others: bool) -> None:
        """Conclude calls that their element does not answer, or write them again for another element."""
        if not (others and block.retry and self._verdicts.allows(block.retry, outcome, block.attempt)):
            self._conclude(block.left, outcome)
            return
        try:
            self._write_again(block)
        except (OSError, SlurmError) as error:
            _log.warning("calls of %s are not made again: %s", self.state.key, error)
            self._conclude(block.left, outcome)

    def _write_again(self, block: Block) -> None:
        """Write the calls of a block that have no answers again, as the next attempt."""
        digest, first, calls, places = self._own_files.read_block(block.offset)
        with self._reading:
            attempt = block.attempt + 1
            for numbers in ranges(block.left):
                self._answers.expect(numbers, attempt)
                some = [calls[number - first] for number in numbers]
                size = block.bytes * len(some) // len(calls)
                self.add(digest, numbers.start, some, retry=block.retry, places=places, attempt=attempt, size=size)
            self._blocks.drop(block)
        self._own_files.flush()

    def _conclude(self, numbers: Iterable[int], outcome: Outcome) -> None:
        with self._reading:
            concluded = [number for number in sorted(numbers) if self._answers.conclude(number, outcome)]
            self._blocks.end(concluded)
        self._place.tracker.learn(self.state, concluded)

    def _write_held(self) -> None:
        """Write the calls that have waited for other jobs, or conclude them. Raises SlurmError."""
        for held, outcome in self.held.ready():
            if outcome is not None:
                self._conclude(self.held.take([held.number]), outcome)
                continue
            with self.held.writing(held.number) as waits:  # nobody cancels it meanwhile
                if waits:
                    where = places(held.needs, self._place_of)
                    self.add(held.digest, held.number, [held.data], retry=held.retry, places=where)
                    self._own_files.flush()
        if self.none_left and self.held:
            self._conclude(self.held.take(), self._pool_ended(self._ended))

    def _place_of(self, key: str, index: int) -> tuple[str, int] | None:
        source = self._place.outcomes.own(key)
        return source._answers.place_of(index) if isinstance(source, PoolCalls) else None  # noqa: SLF001 - another one

    def _state_of(self, key: str) -> SubmissionState:
        source = self._place.outcomes.own(key)
        return source.state if isinstance(source, PoolCalls) else self._place.registry.get(key)

    @property
    def _busy(self) -> bool:
        """Whether the thread has anything to do."""
        return bool(self._blocks) or self.held.any_ready or bool(self.held and self.none_left)
