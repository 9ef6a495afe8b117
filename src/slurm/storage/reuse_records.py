"""ReuseRecords: the files in `<root>/reuse/<task>/`. They list digests of the calls that each submission computes."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from slurm.errors import ProtocolError, TransportError
from slurm.protocol import MOST_CALLS, Document, is_key
from slurm.storage.commit import commit
from slurm.storage.keys import tasks_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.errors import SlurmError
    from slurm.protocol.records import Record
    from slurm.storage.job_store import JobStore
    from slurm.transports.base import Transport

_log = logging.getLogger(__name__)

DIGEST_BYTES = 32
_AHEAD = 64
"""How many numbers after the last known record are requested."""


class ReuseRecord(Document):
    """The first line of a file `reuse/<task>/<n>`. The digest of each call of the submission follows, 32 bytes each.

    The client writes it before it submits anything. It says nothing about the state of the submission.
    """

    key: str
    elements: int
    """The number of its elements, to fence it before its own record exists."""
    parts: Mapping[str, str]
    """Short digests of what the calls have in common, by name, to explain a later difference."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {}

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        return None if is_key(self.key) and 0 <= self.elements <= MOST_CALLS else f"{self.elements} of {self.key!r}"


class Entry(NamedTuple):
    """A record, its number, and the digests of its calls."""

    number: int
    record: ReuseRecord
    digests: Sequence[bytes]


class _Task:
    """What this process knows about the records of one task."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.entries: dict[str, Entry] = {}  # by key
        self.latest: dict[bytes, tuple[int, str, int]] = {}  # by digest: number, key, index
        self.lock = threading.Lock()


class ReuseRecords:
    """The records under one root. They never change, so each is read once."""

    def __init__(self, store: JobStore, transport: Transport) -> None:
        self._store, self._transport = store, transport
        self._tasks: dict[str, _Task] = {}
        self._first_seen: dict[str, float] = {}

    def after_fork(self) -> None:
        """Replace the locks, which a thread of the parent may hold."""
        for known in self._tasks.values():
            known.lock = threading.Lock()

    def refresh(self, key: str) -> int:
        """Read the new records of the task of `key`, by one command; by three if there are many.

        Numbers have no gaps, so the next ones are requested without a listing. Returns the number of the next record. A
        batch has a record for each of its tasks; then the number is that of the last task.
        """
        return [self._refresh(directory) for directory in self._directories(key)][-1]

    def _directories(self, key: str) -> list[str]:
        _, _, stamp = key.partition("/")
        return [self._store.task_directory(f"{task}/{stamp}") for task in tasks_of(key)]

    def _refresh(self, directory: str) -> int:
        known = self._tasks.setdefault(directory, _Task())
        with known.lock:
            after = max(known.seen, default=0) + 1
            self._read(directory, known, range(after, after + _AHEAD))
            last = max(known.seen, default=0)
            if last == after + _AHEAD - 1 or not known.seen.issuperset(range(after, last)):
                # There are more, or one was written after it was requested, and the next one before its own request.
                names = self._transport.list([directory])[directory]
                there = {int(name) for name in names if name.isascii() and name.isdecimal()}
                self._read(directory, known, sorted(there - known.seen))
            return max(known.seen, default=0) + 1

    def _read(self, directory: str, known: _Task, numbers: Sequence[int]) -> None:
        """Read the records of those numbers that exist. Raises TransportError if the read of every number fails."""
        paths = {f"{directory}/{number}": number for number in numbers}
        found = self._transport.get_each(list(paths), private=True)
        errors = [data for data in found.values() if isinstance(data, TransportError)]
        if len(errors) == len(paths) == _AHEAD:
            raise errors[0]
        for path, data in found.items():
            known.seen.add(paths[path])
            entry = _entry(paths[path], path, data)
            if entry is not None:
                self._add(known, entry)

    def find(self, key: str, digests: Sequence[bytes]) -> list[tuple[str, int] | None]:
        """Return, for each digest, the key of the last submission of such a call and the call's index, or None."""
        latest = self._tasks[self._store.task_directory(key)].latest
        return [found[1:] if (found := latest.get(digest)) else None for digest in digests]

    def entry(self, key: str) -> Entry | None:
        """Return the record of a submission, as far as it was read."""
        known = (self._tasks.get(directory) for directory in self._directories(key))
        return next((each.entries[key] for each in known if each and key in each.entries), None)

    def entries(self, key: str) -> list[Entry]:
        """Return the records of the task of `key` that were read, in order; for a batch those of its first task."""
        known = self._tasks.get(self._directories(key)[0])
        return sorted(known.entries.values()) if known else []

    def newest(self, key: str) -> set[str]:
        """Return the keys of the submissions that `find` can return for the tasks of `key`."""
        several = [known for directory in self._directories(key) if (known := self._tasks.get(directory))]
        return {submission for known in several for _, submission, _ in known.latest.values()}

    def claim(self, task: str, number: int, record: ReuseRecord, digests: Sequence[bytes]) -> bool:
        """Write a record. `number` is what `refresh` returned for `task`, a key of the task, before the caller decided.

        Returns False if there is a record with this number, which may contain the same calls.
        """
        directory = self._store.task_directory(task)
        known = self._tasks[directory]
        written = commit(self._transport, directory, {str(number): record.dumps() + b"".join(digests)})
        if str(number) in written:
            with known.lock:
                known.seen.add(number)
                self._add(known, Entry(number, record, list(digests)))
        return str(number) in written

    def seconds_known(self, key: str) -> float:
        """Return how many seconds ago this process first read the record of a submission."""
        return time.monotonic() - self._first_seen.get(key, time.monotonic())

    def _add(self, known: _Task, entry: Entry) -> None:
        self._first_seen.setdefault(entry.record.key, time.monotonic())
        known.entries[entry.record.key] = entry
        for index, digest in enumerate(entry.digests):
            if known.latest.get(digest, (0,))[0] < entry.number:
                known.latest[digest] = entry.number, entry.record.key, index


def _entry(number: int, path: str, data: bytes | SlurmError) -> Entry | None:
    try:
        if isinstance(data, bytes):
            line, _, digests = data.partition(b"\n")
            record = ReuseRecord.loads(line, where=path)
            if len(digests) % DIGEST_BYTES:
                raise ProtocolError(f"{path} is not a valid record of reuse: it ends within a digest")
            split = [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]
            return Entry(number, record, split)
    except ProtocolError as error:
        data = error
    _log.warning("a record of reuse is left out: %s", data)
    return None
