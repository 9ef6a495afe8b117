"""Store: job directories, over a transport."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import NoSuchJob, ProtocolError, SlurmError, TransportError
from slurm.protocol import (
    ATTEMPTS,
    BLOBS,
    CALLBACKS,
    CALLS,
    INDEX,
    JOBS,
    LOGS,
    OUTCOMES,
    REFUSED,
    RESULTS,
    SUBMISSION,
    SUBMITTED,
    Refused,
    Submission,
    Submitted,
    is_key,
    outcome_name,
)
from slurm.protocol.outcomes import Outcome
from slurm.protocol.shell import program
from slurm.serialization import Calls, packed, unpacked
from slurm.storage import log_tails
from slurm.storage.results import read_ends
from slurm.transports.base import ListingFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.storage.results import FetchedResults
    from slurm.storage.runner_zip import RunnerZip
    from slurm.transports.base import Transport

_log = logging.getLogger(__name__)

_OUTCOME = re.compile(r"(\d+)\.json")


class Records(NamedTuple):
    """What is known of a submission: what was asked for, and the scheduler's ids, or its refusal, if there are any."""

    submission: Submission
    submitted: Submitted | None
    refused: Refused | None

    @property
    def scheduler(self) -> str | None:
        """Which scheduler it was handed to; None if that isn't known."""
        answer = self.submitted or self.refused
        return answer.scheduler if answer else None


class Outcomes(NamedTuple):
    """The outcomes of elements of a submission, and why others can't be read."""

    read: dict[int, Outcome]
    unreadable: dict[int, SlurmError]


def new_key(task: str) -> str:
    """A key for a new submission: the task's name, the time in UTC, and enough chance to be unique."""
    return f"{_place(task)}/{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(4).hex()}"


def _place(task: str) -> str:
    """The directory of a task's submissions."""
    return (re.sub(r"[^A-Za-z0-9_.-]+", "_", task).strip("._-") or "task")[:64]


class JobStore:
    """Job directories under one root. Keys name them; whatever of theirs is read is checked here."""

    def __init__(self, transport: Transport, root: str) -> None:
        self._transport = transport
        self.root = root

    def directory(self, key: str) -> str:
        """A submission's directory. Raises NoSuchJob for what can't be a key."""
        if not is_key(key):
            message = f"{key!r} is not a job's key; a key is like 'square/20261121T093012Z-1a2b3c4d'"
            raise NoSuchJob(message)
        return f"{self.root}/{JOBS}/{key}"

    def blob_path(self, blob: RunnerZip) -> str:
        """Where it lies, or will."""
        return f"{self.root}/{BLOBS}/{blob.name}"

    def put_blob(self, blob: RunnerZip) -> None:
        """Send it."""
        self._transport.put(f"{self.root}/{BLOBS}", {blob.name: blob.data})

    def create(
        self, submission: Submission, calls: Calls, scripts: Mapping[str, str], *, blob: RunnerZip | None = None
    ) -> str:
        """Write a new submission, all at once, with a blob that isn't there yet; returns its directory."""
        directory = self.directory(submission.key)
        place = f"{JOBS}/{submission.key}"
        files = {CALLS: calls.data, INDEX: calls.offsets, SUBMISSION: submission.dumps()}
        files |= {CALLBACKS: calls.callbacks} if calls.callbacks else {}
        files |= {name: text.encode() for name, text in scripts.items()}
        sent = {f"{BLOBS}/{blob.name}": blob.data} if blob else {}
        sent |= {f"{place}/{name}": data for name, data in files.items()}
        places = ("", LOGS, OUTCOMES, RESULTS, *((ATTEMPTS,) if submission.continues else ()))
        directories = [f"{place}/{name}" for name in places]
        self._transport.put(self.root, sent, directories=[*directories, *([BLOBS] if blob else [])])
        return directory

    def refuse(self, key: str, refused: Refused) -> None:
        """Write that the scheduler has refused a submission."""
        self._transport.put(self.directory(key), {REFUSED: refused.dumps()})

    def add(self, key: str, scripts: Mapping[str, str]) -> None:
        """Write scripts that a submission turns out to need."""
        self._transport.put(self.directory(key), {name: text.encode() for name, text in scripts.items()})

    def commit(self, key: str, place: str, files: Mapping[str, bytes]) -> frozenset[str]:
        """Write files in a directory of a submission, each only where there is none yet; the names of those written.

        Of several processes that write one name at the same time, one is told that it has.
        """
        directory = f"{self.directory(key)}/{place}"
        hidden = f"{directory}/.{os.urandom(4).hex()}"
        self._transport.put(hidden, files)
        done = self._transport.run(["sh", "-c", program(__name__, "commit.sh"), "sh", hidden], timeout=300)
        if done.status != 0:
            message = f"{directory} can't be written to: {done.words}"
            raise TransportError(message)
        return frozenset(done.stdout.split())

    def withdraw(self, key: str, place: str, names: Iterable[str]) -> None:
        """Take back files that were committed and that nobody has acted upon."""
        self._transport.run(["rm", "-f", *(f"{self.directory(key)}/{place}/{name}" for name in names)], timeout=60)

    def attempts(self, key: str) -> Sequence[str]:
        """The names of what is told of attempts that weren't the last."""
        directory = f"{self.directory(key)}/{ATTEMPTS}"
        return self._transport.list([directory])[directory]

    def told(self, key: str, names: Iterable[str]) -> Mapping[str, bytes | SlurmError]:
        """The files of these names in `attempts/`, of those that are there; or why one can't be read."""
        paths = {f"{self.directory(key)}/{ATTEMPTS}/{name}": name for name in names}
        return {paths[path]: data for path, data in self._transport.get_each(list(paths), private=True).items()}

    def calls(self, key: str, indices: Sequence[int]) -> Calls:
        """Some calls of a submission as they were pickled, to be submitted again. Raises NoSuchJob."""
        paths = [f"{self.directory(key)}/{name}" for name in (CALLS, INDEX, CALLBACKS)]
        files = self._transport.get(paths, private=True)
        data, index, callbacks = (files.get(path, b"") for path in paths)
        if not data or not index:
            message = f"the calls of {key} are not there any more"
            raise NoSuchJob(message)
        at = unpacked(index)
        slices = [data[: at[1]], *(data[at[i + 1] : at[i + 2]] for i in indices)]
        return Calls(b"".join(slices), packed([0, *accumulate(map(len, slices))]), callbacks)

    def records(self, key: str) -> Records:
        """A submission's records. Raises NoSuchJob."""
        found = self.read_records([key]).get(key)
        if found is None:
            message = f"there is no job {key} under {self.root}"
            raise NoSuchJob(message)
        if isinstance(found, SlurmError):
            raise found
        return found

    def several_records(self, keys: Iterable[str]) -> list[Records]:
        """The records of submissions, read in one go; of those that have any.


        Records that can't be read are logged, and their submission is left out.
        """
        found = []
        for records in self.read_records(keys).values():
            if isinstance(records, SlurmError):
                _log.warning("a submission is left out: %s", records)
            else:
                found.append(records)
        return found

    def read_records(self, keys: Iterable[str]) -> Mapping[str, Records | SlurmError]:
        """The records of submissions, by key, of those that have any; or why they can't be read."""
        names = (SUBMISSION, SUBMITTED, REFUSED)
        paths = {key: [f"{self.directory(key)}/{name}" for name in names] for key in keys}
        files = self._transport.get_each([path for some in paths.values() for path in some], private=True)
        found: dict[str, Records | SlurmError] = {}
        for key, (asked, got, no) in paths.items():
            if asked in files:
                try:
                    submission = Submission.loads(_read(files[asked]), where=asked)
                    if submission.key != key:
                        message = f"{asked} is the record of another submission, {submission.key}"
                        raise ProtocolError(message)
                    submitted = Submitted.loads(_read(files[got]), where=got) if got in files else None
                    refused = Refused.loads(_read(files[no]), where=no) if no in files else None
                    found[key] = Records(submission, submitted, refused)
                except (ProtocolError, TransportError) as error:
                    found[key] = error
        return found

    def done(self, keys: Sequence[str]) -> Mapping[str, frozenset[int] | TransportError]:
        """Which elements of each submission have an outcome, or why that can't be told: one listing for all."""
        directories = {f"{self.directory(key)}/{OUTCOMES}": key for key in keys}
        failed: Mapping[str, TransportError] = {}
        try:
            listed = self._transport.list(list(directories))
        except ListingFailed as error:
            listed, failed = error.found, error.failed
        return {
            key: failed[directory] if directory in failed else frozenset(_indices(listed[directory]))
            for directory, key in directories.items()
        }

    def several_outcomes(self, wanted: Mapping[str, Iterable[int]]) -> Mapping[str, Outcomes]:
        """The outcomes of some elements of several submissions, of those that have one, read in one go."""
        paths = {
            f"{self.directory(k)}/{OUTCOMES}/{outcome_name(e)}": (k, e) for k, some in wanted.items() for e in some
        }
        found: dict[str, Outcomes] = {key: Outcomes({}, {}) for key in wanted}
        for path, data in self._transport.get_each(list(paths), private=True).items():  # an error in one is a pickle
            key, element = paths[path]
            try:
                found[key].read[element] = Outcome.loads(_read(data), where=path)
            except (ProtocolError, TransportError) as error:
                found[key].unreadable[element] = error
        return found

    def outcomes(self, key: str, indices: Iterable[int], *, chunk: int) -> Mapping[int, Outcome]:
        """The outcomes of some calls, of those that have one; a damaged one is logged, and left out.

        Raises TransportError if one can't be read.
        """
        wanted = list(indices)
        elements, unreadable = self.several_outcomes({key: {index // chunk for index in wanted}})[key]
        for error in unreadable.values():
            if isinstance(error, TransportError):
                raise error
            _log.warning("an outcome is left out: %s", error)
        found: dict[int, Outcome] = {}
        for index in wanted:
            if index // chunk in elements:
                with contextlib.suppress(ProtocolError):  # it is of fewer calls than it should be
                    found[index] = elements[index // chunk].of_call(index % chunk)
        return found

    def ends(self, key: str, indices: Iterable[int], *, chunk: int) -> FetchedResults:
        """What has become of some calls: outcomes and results, in one go."""
        return read_ends(self._transport, self.directory(key), indices, chunk=chunk)

    def log_tail(self, path: str) -> str:
        """The last lines of a log, however long it is, each as a terminal would leave it; empty if it can't be had."""
        return self.log_tails([path]).get(path, "")

    def log_tails(self, paths: Sequence[str]) -> Mapping[str, str]:
        """The same of many, by one command."""
        return log_tails.tails(self._transport, paths)

    def keys(self, task: str | None = None) -> list[str]:
        """The keys of all submissions, of one task or of any, the newest first: two listings."""
        top = f"{self.root}/{JOBS}"
        names = [_place(task)] if task else self._transport.list([top])[top]
        directories = {f"{top}/{name}": name for name in names}
        try:
            listed = self._transport.list(list(directories))
        except ListingFailed as error:
            _log.warning("submissions are left out: %s", error)
            listed = error.found
        keys = [f"{directories[path]}/{stamp}" for path, stamps in listed.items() for stamp in stamps]
        keys = list(filter(is_key, keys))
        return sorted(keys, key=lambda key: key.rpartition("/")[2], reverse=True)

    def logs(self, paths: Sequence[str]) -> list[str]:
        """The texts of logs, read in one go; empty where nothing was printed."""
        return [data.decode(errors="replace") for data in self.printed(paths)]

    def printed(self, paths: Sequence[str]) -> list[bytes]:
        """The same, byte by byte."""
        found = self._transport.get(list(dict.fromkeys(paths)))
        return [found.get(path, b"") for path in paths]


def _read(data: bytes | SlurmError) -> bytes:
    """The bytes of a file; raises why there are none."""
    if isinstance(data, SlurmError):
        raise data
    return data


def _indices(names: Iterable[str]) -> Iterable[int]:
    return (int(found[1]) for name in names if (found := _OUTCOME.fullmatch(name)))
