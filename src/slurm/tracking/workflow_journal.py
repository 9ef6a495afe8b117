"""Children: what workflows have submitted, and how a workflow that runs again finds it."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from collections import Counter
from typing import TYPE_CHECKING

from slurm.errors import JobCancelled, ProtocolError, TransportError, UntrustedFile
from slurm.protocol import CHILDREN, MOST_CALLS, OUTCOMES, Document, freshness, is_key, outcome_name
from slurm.protocol.files import commit, open_own
from slurm.transports.base import ListingFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurm.errors import SlurmError
    from slurm.protocol import Submission
    from slurm.runner.job_context import JobContext
    from slurm.serialization import Calls
    from slurm.storage.job_store import JobStore
    from slurm.transports.base import Transport

_log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<index>\d+)\.(?P<digest>[0-9a-f]+)\.\d+\.json")
_DIGEST_CHARACTERS = 32


class Child(Document):
    """`children/<i>.<digest>.<number>.json`: what call i of a workflow has submitted; written before that is queued."""

    key: str
    elements: int
    """How many it has, for whoever cancels it before its own record is there."""
    attempt: int
    """The attempt of the workflow that submitted it."""
    created: float
    """Seconds since the epoch, by the node's clock: children are listed in this order."""

    def flaw(self) -> str | None:
        """What can't be true of it."""
        return None if is_key(self.key) and 0 <= self.elements <= MOST_CALLS else f"{self.elements} of {self.key!r}"


def child_name(index: int, digest: str, number: int) -> str:
    """The file in `children/` of what call `index` of a workflow has submitted: the how manieth of a digest."""
    return f"{index}.{digest}.{number}.json"


class WorkflowJournal:
    """The children of one call of a workflow, as the process that runs it adds to them.

    A call is known again by what it is, not by when it is made: its task and its arguments, as pickled, and how many
    like it went before. So threads, and results that come in another order, do no harm.
    """

    def __init__(self, job: JobContext, parent: str) -> None:
        self._job = job
        self.parent = parent
        self._directory = f"{job.directory}/{CHILDREN}"
        self._like_it: Counter[str] = Counter()
        self._claimed: set[str] = set()
        self._lock = threading.Lock()

    def claim(self, submission: Submission, calls: Calls) -> tuple[str, str]:
        """The name of a submission's record and the key in it: that of an earlier attempt, if it has made the same.

        Raises JobCancelled once the workflow was cancelled.
        """
        digest = _digest(submission, calls)
        with self._lock:
            name = child_name(self._job.index, digest, self._like_it[digest])
            self._like_it[digest] += 1
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
        # Whoever cancels the workflow writes its outcome first, then looks for children: one of both sees the other.
        if freshness.exists(f"{self._job.directory}/{OUTCOMES}/{outcome_name(self._job.index)}"):
            message = f"job {self.parent} was cancelled, or has ended in another attempt, so it submits nothing more"
            raise JobCancelled(message, key=self.parent)
        return name, child.key

    def withdraw(self, name: str) -> None:
        """Forget a submission that was refused: the same call made again is in its place, in any attempt."""
        with self._lock:
            self._like_it[name.split(".")[1]] -= 1
            self._claimed.discard(name)
        os.unlink(f"{self._directory}/{name}")

    def passed_over(self) -> list[str]:
        """The keys of what earlier attempts have submitted and this one has not asked for."""
        names = freshness.list_names(self._directory) if freshness.exists(self._directory) else ()
        mine = [name for name in names if (found := _NAME.fullmatch(name)) and int(found["index"]) == self._job.index]
        paths = {f"{self._directory}/{name}": name for name in mine if name not in self._claimed}
        return [child.key for path in paths if (child := _child(_bytes(path), path))]

    def _read(self, name: str) -> Child:
        path = f"{self._directory}/{name}"
        with open_own(path) as file:
            return Child.loads(file.read(), where=path)


def _bytes(path: str) -> bytes | SlurmError:
    try:
        with open_own(path) as file:
            return file.read()
    except UntrustedFile as error:
        return error
    except OSError as error:
        return TransportError(f"{path} can't be read: {error.strerror or error}")


def _digest(submission: Submission, calls: Calls) -> str:
    """What is the same for the same calls. Not their options: other resources make no other result."""
    digest = hashlib.sha256(f"{submission.task} {submission.mapped}".encode())
    digest.update(calls.offsets)
    digest.update(calls.data)
    return digest.hexdigest()[:_DIGEST_CHARACTERS]


def several_children(
    store: JobStore, transport: Transport, wanted: Mapping[str, Iterable[int] | None]
) -> Mapping[str, list[Child]]:
    """What workflows, or some calls of theirs, have submitted, in order: two round trips, however many they are."""
    directories = {key: f"{store.directory(key)}/{CHILDREN}" for key in wanted}
    try:
        listed = transport.list(list(directories.values()))
    except ListingFailed as error:
        _log.warning("what workflows have submitted is left out: %s", error)
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
    """The record in a file; None, and a warning, if it can't be read."""
    try:
        if isinstance(data, bytes):
            return Child.loads(data, where=path)
    except ProtocolError as error:
        data = error
    _log.warning("what a workflow has submitted is left out: %s", data)
    return None
