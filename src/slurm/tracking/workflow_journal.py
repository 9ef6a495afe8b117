"""WorkflowJournal: record the submissions of a workflow, so that its next attempt finds them again."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from collections import Counter
from typing import TYPE_CHECKING

from slurm.errors import JobCancelled, ProtocolError, UntrustedFile
from slurm.protocol import CHILDREN, MOST_CALLS, OUTCOMES, Document, freshness, is_key, outcome_name
from slurm.protocol.files import commit, open_own
from slurm.transports.base import ListingFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurm.errors import SlurmError
    from slurm.protocol import Submission
    from slurm.runner.job_context import JobContext
    from slurm.serialization.calls import Calls
    from slurm.storage.job_store import JobStore
    from slurm.transports.base import Transport

_log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<index>\d+)\.(?P<digest>[0-9a-f]+)\.\d+\.json")
_DIGEST_CHARACTERS = 32


class Child(Document):
    """`children/<i>.<digest>.<number>.json`: a submission by call i of a workflow. Written before it is queued."""

    key: str
    elements: int
    """The number of its elements, to cancel it before its own record exists."""
    attempt: int
    """The attempt of the workflow that submitted it."""
    created: float
    """Seconds since the epoch, by the node's clock: children are listed in this order."""

    def flaw(self) -> str | None:
        """Why the record is invalid, or None."""
        return None if is_key(self.key) and 0 <= self.elements <= MOST_CALLS else f"{self.elements} of {self.key!r}"


def child_name(index: int, digest: str, number: int) -> str:
    """The name of a `Child` of call `index` in `children/`. `number` counts equal calls, which have the same digest."""
    return f"{index}.{digest}.{number}.json"


class WorkflowJournal:
    """The children of one call of a workflow. The process that runs the call adds to them.

    A submission is identified by its task, its pickled arguments, and the number of equal submissions before it, but
    not by its position. So the next attempt may submit in another order, as it happens with threads.
    """

    def __init__(self, job: JobContext, parent: str) -> None:
        self._job = job
        self.parent = parent
        self._directory = f"{job.directory}/{CHILDREN}"
        self._counts: Counter[str] = Counter()  # of submissions, by digest
        self._claimed: set[str] = set()
        self._joined: set[str] = set()
        self._lock = threading.Lock()

    def claim(self, submission: Submission, calls: Calls, *, alone: bool = False) -> tuple[str, str]:
        """Record a submission, and return the record's name and key.

        If an earlier attempt has made an equal submission, the key is the key of that one; with `alone`, no submission
        equals an earlier one. Raises JobCancelled if the workflow was cancelled, or another attempt has finished it.
        """
        digest = _digest(submission, calls, key=submission.key if alone else "")
        with self._lock:
            name = child_name(self._job.index, digest, self._counts[digest])
            self._counts[digest] += 1
            self._claimed.add(name)
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        child = Child(
            key=submission.key,
            elements=submission.elements,
            attempt=self._job.attempt,
            created=submission.created,
        )
        if not commit(f"{self._directory}/{name}", child.dumps()):
            child = self._read(name)
        # A process that cancels the workflow writes its outcome, then lists its children. This one writes the child,
        # then looks for the outcome. So at least one of them sees the other.
        if freshness.exists(f"{self._job.directory}/{OUTCOMES}/{outcome_name(self._job.index)}"):
            raise JobCancelled(
                f"job {self.parent} was cancelled, or another attempt has finished it, so it submits no more jobs",
                key=self.parent,
            )
        return name, child.key

    def note_joined(self, keys: Iterable[str]) -> None:
        """Note that this attempt has found earlier submissions that compute the same (`reuse`)."""
        with self._lock:
            self._joined.update(keys)

    def withdraw(self, name: str) -> None:
        """Forget a submission that was refused. The next equal call takes its number."""
        with self._lock:
            self._counts[name.split(".")[1]] -= 1
            self._claimed.discard(name)
        os.unlink(f"{self._directory}/{name}")

    def orphans(self) -> list[str]:
        """The keys of submissions of earlier attempts that this attempt has not made again."""
        names = freshness.list_names(self._directory) if freshness.exists(self._directory) else ()
        mine = [name for name in names if (found := _NAME.fullmatch(name)) and int(found["index"]) == self._job.index]
        children: list[Child] = []
        for name in (name for name in mine if name not in self._claimed):
            try:
                children.append(self._read(name))
            except (ProtocolError, UntrustedFile, OSError) as error:
                _log.warning("a submission of a workflow is left out: %s", error)
        return [child.key for child in children if child.key not in self._joined]

    def _read(self, name: str) -> Child:
        path = f"{self._directory}/{name}"
        with open_own(path) as file:
            return Child.loads(file.read(), where=path)


def _digest(submission: Submission, calls: Calls, *, key: str) -> str:
    """The identity of calls: their task and their pickles, but not their options: resources do not change a result."""
    digest = hashlib.sha256(f"{submission.task} {submission.mapped}{key}".encode())
    digest.update(calls.offsets)
    digest.update(calls.data)
    return digest.hexdigest()[:_DIGEST_CHARACTERS]


def several_children(
    store: JobStore, transport: Transport, wanted: Mapping[str, Iterable[int] | None]
) -> Mapping[str, list[Child]]:
    """The children of workflows, or of some of their calls, in order, by key. Takes two round trips for all."""
    directories = {key: f"{store.directory(key)}/{CHILDREN}" for key in wanted}
    try:
        listed = transport.list(list(directories.values()))
    except ListingFailed as error:
        _log.warning("submissions of workflows are left out: %s", error)
        listed = error.found
    paths: dict[str, list[str]] = {}
    for key, indices in wanted.items():
        some = None if indices is None else set(indices)
        found = filter(None, map(_NAME.fullmatch, listed.get(directories[key], ())))
        names = [match[0] for match in found if some is None or int(match["index"]) in some]
        paths[key] = [f"{directories[key]}/{name}" for name in names]
    files = transport.get_each([path for some in paths.values() for path in some], private=True)
    children = {key: [_child(files[path], path) for path in some if path in files] for key, some in paths.items()}
    return {
        key: sorted(filter(None, some), key=lambda child: (child.created, child.key)) for key, some in children.items()
    }


def _child(data: bytes | SlurmError, path: str) -> Child | None:
    """The record in a file. Logs a warning and returns None if it cannot be read."""
    try:
        if isinstance(data, bytes):
            return Child.loads(data, where=path)
    except ProtocolError as error:
        data = error
    _log.warning("a submission of a workflow is left out: %s", data)
    return None
