"""Answers: how the calls of a client of a pool have ended, read from the outboxes of the elements."""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import JobOutOfMemory, ProtocolError, SlurmError, TransportError
from slurm.protocol import FAILED, PROCESS, RESULTS, SAVE, SUCCEEDED
from slurm.protocol.checking import read as read_record
from slurm.protocol.frames import BEGUN, CANCELLED, FAILURE, HERE, LARGE, Frame, Head
from slurm.protocol.outcomes import CallFailure, Outcome, ResultRecord
from slurm.protocol.pools import OUT, outbox_name
from slurm.protocol.states import JobState
from slurm.serialization.unpickling import SignalWatch, load
from slurm.storage.job_store import Outcomes
from slurm.storage.results import FetchedResults

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from slurm.pools.pool_files import PoolFiles
    from slurm.pools.relayed_files import RelayedFiles, RelayedReader
    from slurm.protocol.frames import FrameReader
    from slurm.transports.base import Transport


class _Place(NamedTuple):
    """Where the answer to a call is, and which worker gave it."""

    outbox: int
    worker: int
    offset: int


class _Outbox(NamedTuple):
    """The answers of an attempt of an element."""

    element: int
    attempt: int
    frames: FrameReader | RelayedReader


class Output(NamedTuple):
    """Where the output of a call is: in the log of a worker of an element."""

    element: int
    worker: int
    begin: int
    end: int | None
    """None if the call has not ended."""


class Answers:
    """The answers in the outboxes of a client's `directory`, by call, and the outcomes of calls that get no answer.

    Only one thread at a time may call `read`; any thread may call the methods that return what is known.
    """

    def __init__(
        self,
        transport: Transport,
        files: PoolFiles | RelayedFiles,
        directory: str,
        wake: Callable[[], object],
    ) -> None:
        self._transport, self._files, self._directory, self._wake = transport, files, directory, wake
        self._outboxes: list[_Outbox] = []
        self._left: set[int] = set()
        """The outboxes that are not read any more."""
        self.attempts: dict[int, int] = {}
        """The last known attempt of each element. It is larger than 1 if the scheduler has requeued the element."""
        self.when_begun: Callable[[int, str], object] = lambda *_: None
        """Called with the number and the host of a call that takes long."""
        self._places: dict[int, _Place] = {}
        self._begun: dict[int, tuple[int, Head]] = {}  # long calls that have no answer, with their outboxes
        self._attempts: dict[int, int] = {}  # the last attempt of calls that were written more than once
        self._unread: dict[int, Frame] = {}  # answers whose results nobody has requested yet
        self._concluded: dict[int, Outcome] = {}
        self._hosts: dict[int, list[str]] = {}

    def _add_outbox(self, element: int, attempt: int) -> None:
        path = f"{self._directory}/{OUT}/{outbox_name(element, attempt)}"
        self._outboxes.append(_Outbox(element, attempt, self._files.reader(path, self._wake)))
        self.attempts[element] = attempt

    def add_elements(self, elements: Iterable[int]) -> None:
        """Also read the answers of these elements."""
        for element in elements:
            self._add_outbox(element, 1)

    def add_present(self, elements: Sequence[int]) -> None:
        """Also read the answers of the elements that have an outbox. Raises OSError and SlurmError."""
        paths = [f"{self._directory}/{OUT}/{outbox_name(element)}" for element in elements]
        self.add_elements(e for e, exists in zip(elements, self._files.exist(paths), strict=True) if exists)

    def leave(self, elements: Collection[int]) -> None:
        """Stop reading the answers of elements. Answers that were already read remain."""
        self._left |= {at for at, outbox in enumerate(self._outboxes) if outbox.element in elements}

    def look_for_attempts(self) -> None:
        """Find the outboxes of elements that the scheduler has requeued."""
        left = {self._outboxes[at].element for at in self._left}
        following = [(element, attempt + 1) for element, attempt in self.attempts.items() if element not in left]
        exist = self._files.exist([f"{self._directory}/{OUT}/{outbox_name(*each)}" for each in following])
        for (element, attempt), exists in zip(following, exist, strict=True):
            if exists:
                self._add_outbox(element, attempt)

    def rest(self) -> None:
        """Note that nobody will read for a while, so that a relay sends nothing."""
        self._files.rest([outbox.frames for outbox in self._outboxes])

    def read(self, found: set[int]) -> None:
        """Read new answers, and add the calls that they end to `found`. Later answers to the same call are ignored.

        Raises the OSError or SlurmError of an outbox that cannot be read, after the others have been read.
        """
        trouble: OSError | SlurmError | None = None
        for outbox in [at for at in range(len(self._outboxes)) if at not in self._left]:
            try:
                found.update(self._read_outbox(outbox))
            except (OSError, SlurmError) as error:
                trouble = error
        if trouble is not None:
            raise trouble

    def _read_outbox(self, outbox: int) -> Iterator[int]:
        for frame in self._outboxes[outbox].frames.frames():
            number = frame.head.number
            if frame.head.kind == HERE:
                self._hosts[outbox] = frame.body.decode().split("\n")
            elif self.has(number):
                continue
            elif frame.head.attempt >= self._attempts.get(number, 1):
                if frame.head.kind == BEGUN:
                    self._begun[number] = outbox, frame.head
                    self.when_begun(number, self.host(self._outboxes[outbox].element))
                    continue
                self._begun.pop(number, None)
                self._unread[number] = frame
                self._places[number] = _Place(outbox, frame.head.worker, frame.offset)
                yield number

    def expect(self, numbers: range, attempt: int) -> None:
        """Take only answers from this attempt or a later one. Call this method before the attempt is written."""
        self._attempts.update(dict.fromkeys(numbers, attempt))

    def has(self, number: int) -> bool:
        """Whether a call is known to have ended."""
        return number in self._places or number in self._concluded

    def conclude(self, number: int, outcome: Outcome) -> bool:
        """Note the outcome of a call that has no answer; return False if the call has ended already."""
        if self.has(number):
            return False
        self._concluded[number] = outcome
        return True

    def place_of(self, number: int) -> tuple[str, int] | None:
        """The name of the outbox that has the answer to a call, and its offset; None if there is none."""
        place = self._places.get(number)
        if place is None:
            return None
        outbox = self._outboxes[place.outbox]
        return outbox_name(outbox.element, outbox.attempt), place.offset

    def worker_of(self, number: int) -> tuple[int, int]:
        """The element that makes or has made a call, and its worker; zeros if they are not known."""
        if place := self._places.get(number):
            return self._outboxes[place.outbox].element, place.worker
        if begun := self._begun.get(number):
            return self._outboxes[begun[0]].element, begun[1].worker
        return 0, 0

    def output(self, number: int) -> Output | None:
        """Where the output of a call is; None if the call is not known to have begun. Raises SlurmError."""
        element, worker = self.worker_of(number)
        if frame := self._frame(number):
            head = frame.head
            return Output(element, worker, head.first, head.first + head.calls)
        begun = self._begun.get(number)
        return Output(element, worker, begun[1].first, None) if begun else None

    @property
    def begun(self) -> set[int]:
        """The elements that are known to have begun."""
        return {self._outboxes[outbox].element for outbox in list(self._hosts)}

    def host(self, element: int) -> str:
        """The host of an element; empty before it has begun to serve."""
        found = [hosts[0] for outbox, hosts in self._hosts.items() if self._outboxes[outbox].element == element]
        return found[-1] if found else ""

    def outcomes(self, numbers: Iterable[int]) -> Outcomes:
        """The outcomes of the calls that have ended."""
        found = Outcomes({}, {})
        for number in numbers:
            try:
                if (outcome := self._outcome(number)) is not None:
                    found.read[number] = outcome
            except OSError as error:
                found.unreadable[number] = TransportError(str(error))
            except SlurmError as error:
                found.unreadable[number] = error
        return found

    def results(self, numbers: Iterable[int]) -> FetchedResults:
        """The results of calls, and the outcomes of those that have failed."""
        found = FetchedResults({}, {}, {}, 1)
        with SignalWatch() as signals:
            for number in numbers:
                try:
                    outcome = self._add_result(found.results, number)
                    if outcome is not None:
                        found.elements[number] = outcome
                except (ProtocolError, TransportError) as error:
                    found.unloaded[number] = error
                except BaseException as error:  # noqa: BLE001 - unpickling runs the user's own code, which may exit
                    signals.raise_if_sent()
                    found.unloaded[number] = error
        return found

    def _add_result(self, results: dict[int, Any], number: int) -> Outcome | None:
        """Add the result of a call to `results`; if the call has no result, return its outcome."""
        frame = self._frame(number)
        if frame is None or frame.head.kind in (FAILURE, CANCELLED):
            return self._outcome(number, frame)
        results[number] = self._large(frame) if frame.head.kind == LARGE else load(io.BytesIO(frame.body))
        self._unread.pop(number, None)
        return None

    def _large(self, frame: Frame) -> Any:
        record = read_record(ResultRecord, json.loads(frame.body))
        path = f"{self._directory}/{RESULTS}/{record.file}"
        for fetched in self._transport.fetch([path], private=True):
            digest = hashlib.sha256()
            for data in fetched.blocks():
                digest.update(data)
            if digest.hexdigest() != record.sha256:
                raise ProtocolError(f"{path} is not the result that was saved: its size or SHA-256 differs")
            fetched.file.seek(fetched.begin)
            return load(fetched.file)
        raise ProtocolError(f"{path} is not the result that was saved: the file is missing")

    def _frame(self, number: int) -> Frame | None:
        """The answer to a call; None if there is none."""
        place, frame = self._places.get(number), self._unread.get(number)
        if place is None or frame is not None:
            return frame
        path = self._outboxes[place.outbox].frames.path
        try:
            found = self._files.frame(path, place.offset)
        except OSError as error:
            raise TransportError(f"the answer to call {number} cannot be read: {error}") from error
        frame = Frame(Head(*found[0]), place.offset, found[1]) if found else None
        if frame is None or frame.head.number != number:
            raise ProtocolError(f"{path} is damaged: it has no answer to call {number} at {place.offset}")
        return frame

    def _outcome(self, number: int, frame: Frame | None = None) -> Outcome | None:
        if number in self._concluded:
            return self._concluded[number]
        frame = frame or self._frame(number)
        if frame is None:
            return None
        place = self._places.get(number)
        host, job_id = self._hosts.get(place.outbox if place else -1, ("", ""))
        fields: dict[str, Any] = {"host": host or None, "job_id": job_id or None, "attempt": frame.head.attempt}
        fields |= {"started": frame.head.began or None, "ended": frame.head.ended or None}
        if frame.head.kind == CANCELLED:
            return Outcome(status=FAILED, phase=PROCESS, exit_code=1, state=JobState.CANCELLED.value, **fields)
        if frame.head.kind != FAILURE:
            return Outcome(status=SUCCEEDED, phase=SAVE, **fields)
        failure = read_record(CallFailure, json.loads(frame.body))
        fields |= {"phase": failure.phase, "exit_code": failure.exit_code, "error": failure.error}
        if failure.phase == PROCESS and failure.error is not None and failure.error.type == JobOutOfMemory.__name__:
            fields["state"] = JobState.OUT_OF_MEMORY.value
        return Outcome(status=FAILED, **fields)
