"""Attempts: read the records in a submission's `attempts/`, and claim the next attempts of its elements."""

from __future__ import annotations

import logging
import os
import re
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

from slurm.errors import ProtocolError, SlurmError, SubmissionRefused
from slurm.protocol import ATTEMPTS, FAILED, PROCESS, Document, Submitted, attempt_name
from slurm.protocol.outcomes import ErrorRecord, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from slurm.protocol import Block
    from slurm.schedulers.base import Request
    from slurm.storage.job_store import JobStore
    from slurm.submission.submission_state import SubmissionState

D = TypeVar("D", bound=Document)

_log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<element>\d+)\.(?P<attempt>\d+)\.(?P<what>json|begun|next\.json)")


class Claim(Document):
    """`attempts/<e>.<n>.next.json`: another job follows attempt n of element e. Written before the job is queued.

    The process that writes it first queues the job, and then writes `attempts/<group>.blocks.json`, a `Submitted` with
    the job's id.
    """

    group: str
    """The name of the new job, which all its elements share."""
    options: Mapping[str, Any]
    """All options of the next attempt."""
    retries: int
    """The number of retries so far, with this one."""
    reason: str
    count: int = 1
    """The number of elements of the job."""

    def flaw(self) -> str | None:
        """Why the record is invalid, or None."""
        named = self.group and "/" not in self.group
        return None if named and self.retries >= 0 and self.count > 0 else f"group {self.group!r} of {self.count}"


def claim_name(element: int, attempt: int) -> str:
    """The name of a `Claim` in `attempts/`."""
    return f"{element}.{attempt}.next.json"


def blocks_name(group: str) -> str:
    """The name of the file in `attempts/` with the ids of a group's job: a `Submitted`."""
    return f"{group}.blocks.json"


def new_group(element: int, attempt: int) -> str:
    """A new name for the group of a claim."""
    return f"{element}.{attempt}-{os.urandom(4).hex()}"


def write_claims(store: JobStore, key: str, claims: Mapping[tuple[int, int], Claim]) -> list[tuple[int, int]]:
    """Claim the attempts that follow each (element, attempt). Returns those that no other process had claimed."""
    won = store.commit(key, ATTEMPTS, {claim_name(*which): claim.dumps() for which, claim in claims.items()})
    return [which for which in claims if claim_name(*which) in won]


def submit_claimed(
    store: JobStore,
    key: str,
    group: str,
    claimed: Iterable[tuple[int, int]],
    *,
    submit: Callable[..., Submitted],
    request: Request,
    retry_job: Request | None,
) -> Sequence[Block]:
    """Submit the job of a group with `submit`. If it is refused, or the queue is full, withdraw the claims.

    Returns no blocks if the queue is full. After any other error, the job may be queued, so the claims remain.
    """
    names = [*(claim_name(*which) for which in claimed), blocks_name(group)]
    try:
        queued = submit(f"{store.directory(key)}/{ATTEMPTS}/{names[-1]}", key, request, retry_job=retry_job).blocks
    except SubmissionRefused:
        store.withdraw(key, ATTEMPTS, names)
        raise
    if not queued:
        store.withdraw(key, ATTEMPTS, names)
    return queued


def blocks(store: JobStore, key: str, names: Iterable[str]) -> list[Block]:
    """The blocks in the files with ids among `names`. Logs damaged files, and skips them."""
    found: list[Block] = []
    for name, data in store.read_attempts(key, [name for name in names if name.endswith(blocks_name(""))]).items():
        record = _loaded(Submitted, data, name)
        if isinstance(record, Submitted):
            found += record.blocks
        else:
            _log.warning("cannot read the ids of a job of %s: %s", key, record)
    return found


def unreadable(error: ProtocolError) -> Outcome:
    """The outcome of an element whose record in `attempts/` is damaged, so that the real outcome is unknown."""
    record = ErrorRecord(type="ProtocolError", message=str(error), bases=("ProtocolError",))
    return Outcome(status=FAILED, phase=PROCESS, exit_code=1, error=record)


def _loaded(kind: type[D], data: bytes | SlurmError, name: str) -> D | ProtocolError:
    """The record in a file of `attempts/`, or the error in it. Raises TransportError if it could not be read."""
    if isinstance(data, ProtocolError):
        return data
    if isinstance(data, SlurmError):
        raise data
    try:
        return kind.loads(data, where=f"{ATTEMPTS}/{name}")
    except ProtocolError as error:
        return error


class AttemptRecords:
    """The records of some elements: the outcome of each attempt, the claims, and the blocks that were queued for them.

    Damaged records are included as such. Raises TransportError if a record cannot be read.
    """

    def __init__(self, store: JobStore, key: str, elements: Iterable[int]) -> None:
        names = store.attempts(key)
        self.files: dict[str, dict[int, set[int]]] = {"json": {}, "begun": {}, "next.json": {}}
        for found in filter(None, map(_NAME.fullmatch, names)):
            self.files[found["what"]].setdefault(int(found["element"]), set()).add(int(found["attempt"]))
        outcomes, claims = (
            {name(e, n): (e, n) for e in elements for n in self.files[what].get(e, ())}
            for what, name in (("json", attempt_name), ("next.json", claim_name))
        )
        data = store.read_attempts(key, [*outcomes, *claims])
        self.outcomes: dict[tuple[int, int], Outcome] = {}
        self.claims: dict[tuple[int, int], Claim] = {}
        self.damaged: dict[tuple[int, int], ProtocolError] = {}
        """The errors in damaged claims, by element and attempt."""
        for name in outcomes.keys() & data.keys():
            outcome = _loaded(Outcome, data[name], name)
            self.outcomes[outcomes[name]] = unreadable(outcome) if isinstance(outcome, ProtocolError) else outcome
        for name in claims.keys() & data.keys():
            claim = _loaded(Claim, data[name], name)
            if isinstance(claim, ProtocolError):
                self.damaged[claims[name]] = claim
            else:
                self.claims[claims[name]] = claim
        self.last_claims = {element: claim for (element, _), claim in sorted(self.claims.items(), key=itemgetter(0))}
        self.blocks = blocks(store, key, names)

    def move(self, watched: SubmissionState) -> None:
        """Note that elements that another process has resubmitted are parts of their new jobs."""
        for block in sorted(self.blocks, key=lambda block: block.attempts):
            for element in block.elements if block.attempts else ():
                current = watched.block(element)
                if current is None or current.attempts < block.attempts:
                    watched.move(element, block)

    def attempt(self, element: int, watched: SubmissionState) -> int:
        """The number of an element's last known attempt in its current job, as far as this process knows that job.

        Attempts after a claim belong to the next job, which may run although its id is not known yet.
        """
        block = watched.block(element)
        before = block.attempts if block else 0
        claimed = [n for n in self.files["next.json"].get(element, ()) if n > before]
        seen = (self.files[what].get(element, set()) for what in ("json", "begun"))
        return min(claimed) if claimed else max([1 + before, *set().union(*seen)])
