"""JobStore: creates, reads and lists job directories over a transport."""

from __future__ import annotations

import contextlib
import logging
import re
from itertools import accumulate, count, takewhile
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import NoSuchJob, ProtocolError, SlurmError, TransportError
from slurm.protocol import (
    ATTEMPTS,
    BLOBS,
    CALLBACKS,
    CALLS,
    INDEX,
    JOBS,
    OUTCOMES,
    REFUSED,
    REUSE,
    SUBMISSION,
    SUBMITTED,
    SUMMARY,
    Refused,
    Submission,
    Submitted,
    is_key,
    outcome_name,
    shared_name,
)
from slurm.protocol.outcomes import Outcome, SharedOutcome
from slurm.protocol.summary import Summary
from slurm.serialization.calls import Calls, packed, unpacked
from slurm.storage import log_tails
from slurm.storage.commit import commit, commit_same
from slurm.storage.grown_pools import grown
from slurm.storage.keys import of_task, task_directory_name
from slurm.storage.results import read_results
from slurm.transports.base import ListingFailed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from slurm.storage.new_submission import NewSubmission
    from slurm.storage.results import FetchedResults
    from slurm.storage.runner_zip import RunnerZip
    from slurm.transports.base import Transport

_log = logging.getLogger(__name__)

_OUTCOME = re.compile(r"(\d+)\.json")
_SHARED = re.compile(r"shared-\d+\.json")
_MOST_SHARED = 1000
"""The number of records of shared outcomes that are kept in memory."""


class Records(NamedTuple):
    """The records of a submission: the request, and the scheduler's ids or its refusal once there is an answer."""

    submission: Submission
    submitted: Submitted | None
    refused: Refused | None
    summary: Summary | None = None
    """How its calls have ended, if it is a large map and a client has seen its end."""

    @property
    def scheduler(self) -> str | None:
        """The scheduler to which it was submitted; None before there is an answer."""
        answer = self.submitted or self.refused
        return answer.scheduler if answer else None


class Outcomes(NamedTuple):
    """The outcomes of elements of a submission, and an error for each that cannot be read."""

    read: dict[int, Outcome]
    unreadable: dict[int, SlurmError]


class JobStore:
    """The job directories under one root, by their keys. Every file that it reads is checked."""

    def __init__(self, transport: Transport, root: str) -> None:
        self._transport = transport
        self.root = root
        self._shared: dict[str, SharedOutcome | None] = {}  # records of shared outcomes, by path; None: damaged

    def task_directory(self, key: str) -> str:
        """Return the directory of a task's records of reuse. The task is that of the submission `key`."""
        self.directory(key)
        return f"{self.root}/{REUSE}/{key.partition('/')[0]}"

    def directory(self, key: str) -> str:
        """Return the directory of a submission. Raises NoSuchJob for a malformed key."""
        if not is_key(key):
            raise NoSuchJob(f"{key!r} is not a job key: pass a key such as 'square/20261121T093012Z-1a2b3c4d'")
        return f"{self.root}/{JOBS}/{key}"

    def blob_path(self, blob: RunnerZip) -> str:
        """Return the path of a blob."""
        return f"{self.root}/{BLOBS}/{blob.name}"

    def put_blob(self, blob: RunnerZip) -> None:
        """Upload a blob."""
        self._transport.put(f"{self.root}/{BLOBS}", {blob.name: blob.data})

    def create(self, *new: NewSubmission, blob: RunnerZip | None = None) -> None:
        """Write new submissions in one round trip, with a missing blob if one is given."""
        files = {f"{BLOBS}/{blob.name}": blob.data} if blob else {}
        for each in new:
            self.directory(each.submission.key)  # checks the key
            files |= {f"{each.directory}/{name}": data for name, data in each.files.items()}
        directories = [f"{each.directory}/{name}" for each in new for name in each.subdirectories]
        self._transport.put(self.root, files, directories=[*directories, *([BLOBS] if blob else [])])

    def refuse(self, key: str, refused: Refused) -> None:
        """Record that the scheduler refused a submission."""
        self._transport.put(self.directory(key), {REFUSED: refused.dumps()})

    def summarise(self, key: str, summary: Summary) -> None:
        """Record how the calls of a submission have ended."""
        self._transport.put(self.directory(key), {SUMMARY: summary.dumps()})

    def add(self, key: str, scripts: Mapping[str, str]) -> None:
        """Add scripts to a submission."""
        self._transport.put(self.directory(key), {name: text.encode() for name, text in scripts.items()})

    def commit(self, key: str, subdirectory: str, files: Mapping[str, bytes]) -> frozenset[str]:
        """Write files that do not exist yet in a directory of a submission; return the names of those written.

        If several processes write the same name at the same time, exactly one of them gets this name in its answer, if
        their files differ: some file systems do not show which of two equal files was linked.
        """
        return commit(self._transport, f"{self.directory(key)}/{subdirectory}", files)

    def commit_outcomes(self, wanted: Mapping[str, Iterable[str]], text: str) -> Mapping[str, frozenset[str]]:
        """Write one outcome under names that do not exist yet. Returns as `commit_same`, by key."""
        names = {f"{self.directory(key)}/{OUTCOMES}": some for key, some in wanted.items()}
        return dict(zip(wanted, commit_same(self._transport, names, text).values(), strict=True))

    def commit_shared(self, key: str, elements: Iterable[int], outcome: Outcome) -> None:
        """Write one outcome for elements that will never begin, unless they have a shared outcome already."""
        left = set(elements)
        for number in count():
            record = SharedOutcome.of(left, outcome)
            if not left or self.commit(key, OUTCOMES, {shared_name(number): record.dumps()}):
                return
            for earlier in self._shared_outcomes([self._shared_path(key, number)]).values():
                left = {element for element in left if element not in earlier}

    def withdraw(self, key: str, subdirectory: str, names: Iterable[str]) -> None:
        """Remove files that were committed and that no process has acted on."""
        paths = [f"{self.directory(key)}/{subdirectory}/{name}" for name in names]
        self._transport.run(["rm", "-f", *paths], timeout=60)

    def attempts(self, key: str) -> Sequence[str]:
        """Return the names of the files in `attempts/`, which describe attempts before the last one."""
        directory = f"{self.directory(key)}/{ATTEMPTS}"
        return self._transport.list([directory])[directory]

    def read_attempts(self, key: str, names: Iterable[str]) -> Mapping[str, bytes | SlurmError]:
        """Read files in `attempts/`: the bytes of each that exists, or an error if it cannot be read."""
        paths = {f"{self.directory(key)}/{ATTEMPTS}/{name}": name for name in names}
        return {paths[path]: data for path, data in self._transport.get_each(list(paths), private=True).items()}

    def calls(self, key: str, indices: Sequence[int]) -> Calls:
        """Return some calls of a submission as they were pickled. Raises NoSuchJob."""
        paths = [f"{self.directory(key)}/{name}" for name in (CALLS, INDEX, CALLBACKS)]
        files = self._transport.get(paths, private=True)
        data, index, callbacks = (files.get(path, b"") for path in paths)
        if not data or not index:
            raise NoSuchJob(f"the calls of {key} no longer exist under {self.root}")
        at = unpacked(index)
        slices = [data[: at[1]], *(data[at[i + 1] : at[i + 2]] for i in indices)]
        return Calls(b"".join(slices), packed([at[0], *accumulate(map(len, slices))]), callbacks)

    def records(self, key: str) -> Records:
        """Read the records of a submission. Raises NoSuchJob."""
        found = self.read_records([key]).get(key)
        if found is None:
            raise NoSuchJob(f"there is no job {key} under {self.root}")
        if isinstance(found, SlurmError):
            raise found
        return found

    def several_records(self, keys: Iterable[str]) -> list[Records]:
        """Read the records of the submissions that exist, in one round trip.

        A submission whose records cannot be read is logged and left out.
        """
        found = []
        for records in self.read_records(keys).values():
            if isinstance(records, SlurmError):
                _log.warning("skipping a submission: %s", records)
            else:
                found.append(records)
        return found

    def read_records(self, keys: Iterable[str]) -> Mapping[str, Records | SlurmError]:
        """Read the records of the submissions that exist, by key, or an error for those that cannot be read."""
        return self.records_and_outcomes(dict.fromkeys(keys, ()))[0]

    def records_and_outcomes(
        self, wanted: Mapping[str, Iterable[int]]
    ) -> tuple[Mapping[str, Records | SlurmError], Mapping[str, Outcomes]]:
        """Read records as `read_records` does, and the elements' own outcomes, all in one round trip."""
        names = (SUBMISSION, SUBMITTED, REFUSED, SUMMARY)
        records = {key: [f"{self.directory(key)}/{name}" for name in names] for key in wanted}
        outcomes = self._outcome_paths(wanted)
        files = self._transport.get_each([*(p for group in records.values() for p in group), *outcomes], private=True)
        found: dict[str, Records | SlurmError] = {}
        for key, (request, accepted, rejected, summary) in records.items():
            if request in files:
                try:
                    submission = Submission.loads(_read(files[request]), where=request)
                    if submission.key != key:
                        raise ProtocolError(f"{request} is the record of another submission, {submission.key}")
                    submitted = Submitted.loads(_read(files[accepted]), where=accepted) if accepted in files else None
                    refused = Refused.loads(_read(files[rejected]), where=rejected) if rejected in files else None
                    submission, submitted = grown(self, submission, submitted)
                    found[key] = Records(submission, submitted, refused, _summary(files, summary, submission))
                except (ProtocolError, TransportError) as error:
                    found[key] = error
        return found, _outcomes(wanted, outcomes, files)

    def done(self, keys: Sequence[str]) -> Mapping[str, frozenset[int] | TransportError]:
        """List the elements of each submission that have an outcome, or an error, by one command for all."""
        directories = {f"{self.directory(key)}/{OUTCOMES}": key for key in keys}
        failed: Mapping[str, TransportError] = {}
        try:
            listed = self._transport.list(list(directories))
        except ListingFailed as error:
            listed, failed = error.found, error.failed
        shared = {f"{at}/{name}": at for at, names in listed.items() for name in filter(_SHARED.fullmatch, names)}
        found = {directory: set(_indices(names)) for directory, names in listed.items()}
        for path, record in self._shared_outcomes(list(shared)).items():
            found[shared[path]].update(record)
        return {
            key: failed[directory] if directory in failed else frozenset(found[directory])
            for directory, key in directories.items()
        }

    def distrust(self, key: str) -> None:
        """Bypass the caches of a submission's file system from now on, because its outcomes were listed late."""
        self._transport.distrust(f"{self.directory(key)}/{OUTCOMES}")

    def _shared_path(self, key: str, number: int) -> str:
        return f"{self.directory(key)}/{OUTCOMES}/{shared_name(number)}"

    def _shared_outcomes(self, paths: Sequence[str]) -> Mapping[str, SharedOutcome]:
        """Read records of shared outcomes. Each is read once, because it never changes. A damaged one is logged."""
        if len(self._shared) > _MOST_SHARED:
            self._shared.clear()
        new = [path for path in paths if path not in self._shared]
        for path, data in (self._transport.get_each(new, private=True) if new else {}).items():
            try:
                self._shared[path] = SharedOutcome.loads(_read(data), where=path)
            except (ProtocolError, TransportError) as error:
                _log.warning("skipping outcomes: %s", error)
                if isinstance(error, ProtocolError):
                    self._shared[path] = None
        return {path: record for path in paths if (record := self._shared.get(path))}

    def shared_outcomes(self, wanted: Mapping[str, Collection[int]]) -> Mapping[str, Mapping[int, Outcome]]:
        """Read the shared outcomes of elements without an outcome of their own, by key. Usually one round trip."""
        found: dict[str, dict[int, Outcome]] = {key: {} for key in wanted}
        left = {key: set(elements) for key, elements in wanted.items() if elements}
        for number in count():
            paths = {self._shared_path(key, number): key for key in left}
            records = self._shared_outcomes(list(paths))
            there = [path for path in paths if path in self._shared]  # a damaged record must not hide a later one
            if not there:
                break
            for path, record in records.items():
                key = paths[path]
                mine = {element for element in left[key] if element in record}
                found[key].update(dict.fromkeys(mine, record.outcome))
                left[key] -= mine
            left = {paths[path]: left[paths[path]] for path in there if left[paths[path]]}
        return found

    def several_outcomes(self, wanted: Mapping[str, Iterable[int]]) -> Mapping[str, Outcomes]:
        """Read the outcomes of elements of several submissions in one round trip; more for shared outcomes."""
        paths = self._outcome_paths(wanted)
        found = _outcomes(wanted, paths, self._transport.get_each(list(paths), private=True))  # they may hold pickles
        missing = {k: [e for e in wanted[k] if e not in read and e not in bad] for k, (read, bad) in found.items()}
        for key, shared in self.shared_outcomes(missing).items():
            found[key].read.update(shared)
        return found

    def _outcome_paths(self, wanted: Mapping[str, Iterable[int]]) -> Mapping[str, tuple[str, int]]:
        return {f"{self.directory(k)}/{OUTCOMES}/{outcome_name(e)}": (k, e) for k, some in wanted.items() for e in some}

    def outcomes(self, key: str, indices: Iterable[int], *, chunk: int) -> Mapping[int, Outcome]:
        """Read the outcomes of the calls that have one. A damaged outcome is logged and left out.

        Raises TransportError if one cannot be read.
        """
        wanted = list(indices)
        elements, unreadable = self.several_outcomes({key: {index // chunk for index in wanted}})[key]
        for error in unreadable.values():
            if isinstance(error, TransportError):
                raise error
            _log.warning("skipping an outcome: %s", error)
        found: dict[int, Outcome] = {}
        for index in wanted:
            if index // chunk in elements:
                with contextlib.suppress(ProtocolError):  # it describes fewer calls than the element has
                    found[index] = elements[index // chunk].of_call(index % chunk)
        return found

    def read_results(self, key: str, indices: Iterable[int], *, chunk: int) -> FetchedResults:
        """Read the outcomes and results of calls in one round trip; more for shared outcomes."""
        wanted = list(indices)
        found = read_results(self._transport, self.directory(key), wanted, chunk=chunk)
        missing = {i // chunk for i in wanted if i // chunk not in found.elements and i not in found.unloaded}
        found.elements.update(self.shared_outcomes({key: missing})[key])
        return found

    def log_tail(self, path: str) -> str:
        """Return the last lines of a log, as a terminal would show them; empty if it cannot be read."""
        return self.log_tails([path]).get(path, "")

    def log_tails(self, paths: Sequence[str]) -> Mapping[str, str]:
        """Return the last lines of many logs, by one command."""
        return log_tails.tails(self._transport, paths)

    def keys(self, task: str | None = None) -> list[str]:
        """Return the keys of all submissions, or of one task's, newest first. Takes two commands."""
        top = f"{self.root}/{JOBS}"
        names = self._transport.list([top])[top]
        names = of_task(names, task_directory_name(task)) if task else names
        directories = {f"{top}/{name}": name for name in names}
        try:
            listed = self._transport.list(list(directories))
        except ListingFailed as error:
            _log.warning("skipping submissions: %s", error)
            listed = error.found
        keys = (f"{directories[path]}/{stamp}" for path, stamps in listed.items() for stamp in stamps)
        return sorted(filter(is_key, keys), key=lambda key: key.rpartition("/")[2], reverse=True)

    def logs(self, paths: Sequence[str]) -> list[str]:
        """Read logs as text in one round trip; empty for a log that does not exist."""
        found = self._transport.get(list(dict.fromkeys(paths)))
        return [found.get(path, b"").decode(errors="replace") for path in paths]

    def log_blocks(self, paths: Sequence[str]) -> Iterator[Iterator[bytes]]:
        """Read different logs in one round trip. Yields the blocks of bytes of each; none if it does not exist."""
        left = iter(paths)
        for file in self._transport.fetch(paths):
            for _ in takewhile(lambda path: path != file.path, left):  # noqa: B023 - used up at once
                yield iter(())
            yield file.blocks()
        for _ in left:
            yield iter(())


def _outcomes(
    keys: Iterable[str], paths: Mapping[str, tuple[str, int]], files: Mapping[str, bytes | SlurmError]
) -> Mapping[str, Outcomes]:
    found: dict[str, Outcomes] = {key: Outcomes({}, {}) for key in keys}
    for path, (key, element) in paths.items():
        if path in files:
            try:
                found[key].read[element] = Outcome.loads(_read(files[path]), where=path)
            except (ProtocolError, TransportError) as error:
                found[key].unreadable[element] = error
    return found


def _summary(files: Mapping[str, bytes | SlurmError], path: str, of: Submission) -> Summary | None:
    """Return a summary, or None if there is no valid one: the outcomes contain the same information."""
    try:
        summary = Summary.loads(_read(files[path]), where=path) if path in files else None
    except (ProtocolError, TransportError) as error:
        _log.debug("reading all outcomes: %s", error)
        return None
    return summary if summary and sum(summary.states.values()) == of.count else None


def _read(data: bytes | SlurmError) -> bytes:
    """Return the bytes of a file, or raise its error."""
    if isinstance(data, SlurmError):
        raise data
    return data


def _indices(names: Iterable[str]) -> Iterable[int]:
    return (int(found[1]) for name in names if (found := _OUTCOME.fullmatch(name)))
