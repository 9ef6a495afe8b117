"""Attempts: what `attempts/` of a submission tells of its elements, and the claims on what comes next."""

from __future__ import annotations

import logging
import os
import re
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

from slurm.errors import ProtocolError, SlurmError
from slurm.protocol import ATTEMPTS, FAILED, PROCESS, Document, Submitted, attempt_name
from slurm.protocol.outcomes import ErrorRecord, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from slurm.protocol import Block
    from slurm.storage.job_store import JobStore
    from slurm.submission.submission_state import SubmissionState

D = TypeVar("D", bound=Document)

_log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<element>\d+)\.(?P<attempt>\d+)\.(?P<what>json|begun|next\.json)")


class Continuation(Document):
    """`attempts/<e>.<n>.next.json`: attempt n of element e is followed by another job; written before that is queued.

    Whoever writes it first queues the job. `attempts/<group>.blocks.json` then holds a `Submitted` with its id.
    """

    group: str
    """What the elements that go into the same job have in common."""
    options: Mapping[str, Any]
    """All options of the next attempt."""
    retries: int
    """How many retries that makes."""
    reason: str
    count: int = 1
    """How many elements the job has."""

    def flaw(self) -> str | None:
        """What can't be true of it."""
        named = self.group and "/" not in self.group
        return None if named and self.retries >= 0 and self.count > 0 else f"group {self.group!r} of {self.count}"


def continuation_name(element: int, attempt: int) -> str:
    """The file in `attempts/` of a `Continuation`."""
    return f"{element}.{attempt}.next.json"


def blocks_name(group: str) -> str:
    """The file in `attempts/` with the ids of a group's job: a `Submitted`."""
    return f"{group}.blocks.json"


def new_group(element: int, attempt: int) -> str:
    """A name for a job to come, which no other claim has."""
    return f"{element}.{attempt}-{os.urandom(4).hex()}"


def claim(store: JobStore, key: str, claims: Mapping[tuple[int, int], Continuation]) -> list[tuple[int, int]]:
    """Claim what follows attempts of elements; those of them that are this process's: of all that try, one is first."""
    files = {continuation_name(*which): claim.dumps() for which, claim in claims.items()}
    won = store.commit(key, ATTEMPTS, files)
    return [which for which in claims if continuation_name(*which) in won]


def give_back(store: JobStore, key: str, group: str, claimed: Iterable[tuple[int, int]]) -> None:
    """Withdraw claims for which nothing was queued."""
    names = [continuation_name(*which) for which in claimed]
    store.withdraw(key, ATTEMPTS, [*names, blocks_name(group)])


def record_path(store: JobStore, key: str, group: str) -> str:
    """Where the id of a group's job is written."""
    return f"{store.directory(key)}/{ATTEMPTS}/{blocks_name(group)}"


def blocks(store: JobStore, key: str, names: Iterable[str]) -> list[Block]:
    """The blocks in those of some files of `attempts/` that hold any; a damaged one is logged, and left out."""
    found: list[Block] = []
    for name, data in store.told(key, [name for name in names if name.endswith(blocks_name(""))]).items():
        record = _loaded(Submitted, data, name)
        if isinstance(record, Submitted):
            found += record.blocks
        else:
            _log.warning("the ids of a job of %s are left out: %s", key, record)
    return found


def unreadable(error: ProtocolError) -> Outcome:
    """The outcome of an element whose record in `attempts/` is damaged, so that how it ended can't be told."""
    record = ErrorRecord(type="ProtocolError", message=str(error), bases=("ProtocolError",))
    return Outcome(status=FAILED, phase=PROCESS, exit_code=1, error=record)


def _loaded(kind: type[D], data: bytes | SlurmError, name: str) -> D | ProtocolError:
    """The record in a file of `attempts/`, or what is wrong with it. Raises TransportError if it can't be read now."""
    if isinstance(data, ProtocolError):
        return data
    if isinstance(data, SlurmError):
        raise data
    try:
        return kind.loads(data, where=f"{ATTEMPTS}/{name}")
    except ProtocolError as error:
        return error


class AttemptRecords:
    """What is told of some elements: the last word of each attempt, the claims, and the blocks that they went to.

    Of damaged records it tells, too. One that can't be read now raises TransportError.
    """

    def __init__(self, store: JobStore, key: str, elements: Iterable[int]) -> None:
        names = store.attempts(key)
        self.files: dict[str, dict[int, set[int]]] = {"json": {}, "begun": {}, "next.json": {}}
        for found in filter(None, map(_NAME.fullmatch, names)):
            self.files[found["what"]].setdefault(int(found["element"]), set()).add(int(found["attempt"]))
        words, claims = (
            {name(e, n): (e, n) for e in elements for n in self.files[what].get(e, ())}
            for what, name in (("json", attempt_name), ("next.json", continuation_name))
        )
        data = store.told(key, [*words, *claims])
        self.outcomes: dict[tuple[int, int], Outcome] = {}
        self.claims: dict[tuple[int, int], Continuation] = {}
        self.damaged: dict[tuple[int, int], ProtocolError] = {}
        """What is wrong with claims, by element and attempt."""
        for name in words.keys() & data.keys():
            word = _loaded(Outcome, data[name], name)
            self.outcomes[words[name]] = unreadable(word) if isinstance(word, ProtocolError) else word
        for name in claims.keys() & data.keys():
            claim = _loaded(Continuation, data[name], name)
            if isinstance(claim, ProtocolError):
                self.damaged[claims[name]] = claim
            else:
                self.claims[claims[name]] = claim
        self.last_claims = {element: claim for (element, _), claim in sorted(self.claims.items(), key=itemgetter(0))}
        self.blocks = blocks(store, key, names)

    def move(self, watched: SubmissionState) -> None:
        """Have elements that are in another job than was known be known to be there."""
        for block in sorted(self.blocks, key=lambda block: block.attempts):
            for element in block.elements if block.attempts else ():
                here = watched.block(element)
                if here is None or here.attempts < block.attempts:
                    watched.move(element, block)

    def attempt(self, element: int, watched: SubmissionState) -> int:
        """The number of an element's last attempt in the job where it is known to be, as far as anything tells.

        Those after a claim are of another job, whose id may not be known yet though it runs.
        """
        block = watched.block(element)
        before = block.attempts if block else 0
        claimed = [n for n in self.files["next.json"].get(element, ()) if n > before]
        seen = (self.files[what].get(element, set()) for what in ("json", "begun"))
        return min(claimed) if claimed else max([1 + before, *set().union(*seen)])
