"""Store: job directories, over a transport."""

from __future__ import annotations

import logging
import os
import re
import shlex
import time
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from slurm import logs
from slurm.ends import read_ends
from slurm.errors import NoSuchJob, ProtocolError, TransportError, UntrustedFile
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
    outcome_name,
)
from slurm.protocol.outcomes import Outcome
from slurm.serialization import Calls, packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.bundle import Bundle
    from slurm.ends import Ends
    from slurm.transports.base import Transport

_log = logging.getLogger(__name__)

_COMMIT = """\
cd -- {hidden} || exit
{links}
for name in *; do
    if [ "$name" -ef "../$name" ] || {{ [ ! -e "../$name" ] && mv "$name" ..; }}; then echo "$name"; fi
done
cd .. && rm -r {hidden}
"""
"""link(2) is what a file system does for one process only; where there are no hard links, mv comes close."""
_AT_ONCE = 500
_OUTCOME = re.compile(r"(\d+)\.json")
_KEY = re.compile(r"[^/\s]+/[^/\s]+")


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


def new_key(task: str) -> str:
    """A key for a new submission: the task's name, the time in UTC, and enough chance to be unique."""
    return f"{_place(task)}/{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(4).hex()}"


def _place(task: str) -> str:
    """The directory of a task's submissions."""
    return (re.sub(r"[^A-Za-z0-9_.-]+", "_", task).strip("._-") or "task")[:64]


class Store:
    """Job directories under one root. Keys name them; whatever of theirs is read is checked here."""

    def __init__(self, transport: Transport, root: str) -> None:
        self._transport = transport
        self.root = root

    def directory(self, key: str) -> str:
        """A submission's directory. Raises NoSuchJob for what can't be a key."""
        if not _KEY.fullmatch(key) or ".." in key.split("/") or not key.isprintable():
            message = f"{key!r} is not a job's key; a key is like 'square/20261121T093012Z-1a2b3c4d'"
            raise NoSuchJob(message)
        return f"{self.root}/{JOBS}/{key}"

    def blob_path(self, blob: Bundle) -> str:
        """Where it lies, or will."""
        return f"{self.root}/{BLOBS}/{blob.name}"

    def put_blob(self, blob: Bundle) -> None:
        """Send it."""
        self._transport.put(f"{self.root}/{BLOBS}", {blob.name: blob.data})

    def create(
        self, submission: Submission, calls: Calls, scripts: Mapping[str, str], *, blob: Bundle | None = None
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
        directory, names = f"{self.directory(key)}/{place}", list(files)
        hidden = f"{directory}/.{os.urandom(4).hex()}"
        self._transport.put(hidden, files)
        some = (names[at : at + _AT_ONCE] for at in range(0, len(names), _AT_ONCE))
        links = "\n".join(f"ln {' '.join(each)} .. 2>/dev/null" for each in some)
        script = _COMMIT.format(hidden=shlex.quote(hidden), links=links)
        done = self._transport.run(["sh", "-s"], stdin=script.encode(), timeout=300)
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

    def told(self, key: str, names: Iterable[str]) -> Mapping[str, bytes]:
        """The files of these names in `attempts/`, of those that are there."""
        paths = {f"{self.directory(key)}/{ATTEMPTS}/{name}": name for name in names}
        return {paths[path]: data for path, data in self._transport.get(list(paths), private=True).items()}

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
        found = self.several_records([key])
        if not found:
            message = f"there is no job {key} under {self.root}"
            raise NoSuchJob(message)
        return found[0]

    def several_records(self, keys: Sequence[str], *, strict: bool = True) -> list[Records]:
        """The records of submissions, read in one go; of those that have any.

        One that can't be read raises ProtocolError; unless `strict`, that is logged, and it is left out.
        """
        names = (SUBMISSION, SUBMITTED, REFUSED)
        paths = {key: [f"{self.directory(key)}/{name}" for name in names] for key in keys}
        files = self._own_files(paths, strict=strict)
        found = []
        for asked, got, no in (some for some in paths.values() if some[0] in files):
            try:
                submission = Submission.loads(files[asked], where=asked)
                submitted = Submitted.loads(files[got], where=got) if got in files else None
                refused = Refused.loads(files[no], where=no) if no in files else None
            except ProtocolError as error:
                if strict:
                    raise
                _log.warning("a submission is left out: %s", error)
            else:
                found.append(Records(submission, submitted, refused))
        return found

    def _own_files(self, paths: dict[str, list[str]], *, strict: bool) -> Mapping[str, bytes]:
        """The files of several submissions; unless `strict`, one that others could have written is left out."""
        while True:
            try:
                return self._transport.get([path for some in paths.values() for path in some], private=True)
            except UntrustedFile as error:
                foreign = [key for key in paths if f"{error.path}/".startswith(f"{self.directory(key)}/")]
                if strict or not foreign:
                    raise
                _log.warning("a submission is left out: %s", error)
                for key in foreign:
                    del paths[key]

    def done(self, keys: Sequence[str]) -> Mapping[str, frozenset[int]]:
        """Which elements of each submission have an outcome: one listing for all."""
        directories = {f"{self.directory(key)}/{OUTCOMES}": key for key in keys}
        listed = self._transport.list(list(directories))
        return {key: frozenset(_indices(listed[directory])) for directory, key in directories.items()}

    def several_outcomes(self, wanted: Mapping[str, Iterable[int]]) -> Mapping[str, Mapping[int, Outcome]]:
        """The outcomes of some elements of several submissions, of those that have one, read in one go."""
        paths = {
            f"{self.directory(k)}/{OUTCOMES}/{outcome_name(e)}": (k, e) for k, some in wanted.items() for e in some
        }
        found: dict[str, dict[int, Outcome]] = {key: {} for key in wanted}
        for path, data in self._transport.get(list(paths), private=True).items():  # an error in an outcome is a pickle
            key, element = paths[path]
            found[key][element] = Outcome.loads(data, where=path)
        return found

    def outcomes(self, key: str, indices: Iterable[int], *, chunk: int) -> Mapping[int, Outcome]:
        """The outcomes of some calls, of those that have one."""
        wanted = list(indices)
        elements = self.several_outcomes({key: {index // chunk for index in wanted}})[key]
        return {i: elements[i // chunk].of_call(i % chunk) for i in wanted if i // chunk in elements}

    def ends(self, key: str, indices: Iterable[int], *, chunk: int) -> Ends:
        """What has become of some calls: outcomes and results, in one go."""
        return read_ends(self._transport, self.directory(key), indices, chunk=chunk)

    def log_tail(self, path: str) -> str:
        """The last lines of a log, however long it is, each as a terminal would leave it; empty if it can't be had."""
        return self.log_tails([path]).get(path, "")

    def log_tails(self, paths: Sequence[str]) -> Mapping[str, str]:
        """The same of many, by one command."""
        return logs.tails(self._transport, paths)

    def keys(self, task: str | None = None) -> list[str]:
        """The keys of all submissions, of one task or of any, the newest first: two listings."""
        top = f"{self.root}/{JOBS}"
        names = [_place(task)] if task else self._transport.list([top])[top]
        directories = {f"{top}/{name}": name for name in names}
        listed = self._transport.list(list(directories))
        keys = [f"{directories[path]}/{stamp}" for path, stamps in listed.items() for stamp in stamps]
        return sorted(keys, key=lambda key: key.rpartition("/")[2], reverse=True)

    def logs(self, paths: Sequence[str]) -> list[str]:
        """The texts of logs, read in one go; empty where nothing was printed."""
        return [data.decode(errors="replace") for data in self.printed(paths)]

    def printed(self, paths: Sequence[str]) -> list[bytes]:
        """The same, byte by byte."""
        found = self._transport.get(list(dict.fromkeys(paths)))
        return [found.get(path, b"") for path in paths]


def _indices(names: Iterable[str]) -> Iterable[int]:
    return (int(found[1]) for name in names if (found := _OUTCOME.fullmatch(name)))
