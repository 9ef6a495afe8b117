"""Attempts: what `attempts/` of a submission tells of its elements, and the claims on what comes next."""

from __future__ import annotations

import os
import re
import time
from operator import itemgetter
from typing import TYPE_CHECKING

from slurm.protocol import ATTEMPTS, Document, Submitted, attempt_name
from slurm.protocol.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from slurm.lifecycle.watched import Watched
    from slurm.protocol import Block
    from slurm.store import Store

_NAME = re.compile(r"(?P<element>\d+)\.(?P<attempt>\d+)\.(?P<what>json|begun|next\.json)")
_ABANDONED = 60.0
"""Seconds after which a claim without a job is somebody's who died."""


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


def abandoned(watched: Watched, group: str) -> bool:
    """Whether a claim has been without a job for long, as this process has seen it."""
    since = watched.claimed_since.setdefault(group, time.monotonic())
    return time.monotonic() - since > _ABANDONED


def claim(store: Store, key: str, claims: Mapping[tuple[int, int], Continuation]) -> list[tuple[int, int]]:
    """Claim what follows attempts of elements; those of them that are this process's: of all that try, one is first."""
    files = {continuation_name(*which): claim.dumps() for which, claim in claims.items()}
    won = store.commit(key, ATTEMPTS, files)
    return [which for which in claims if continuation_name(*which) in won]


def give_back(store: Store, key: str, group: str, claimed: Iterable[tuple[int, int]]) -> None:
    """Withdraw claims for which nothing was queued."""
    names = [continuation_name(*which) for which in claimed]
    store.withdraw(key, ATTEMPTS, [*names, blocks_name(group)])


def record_path(store: Store, key: str, group: str) -> str:
    """Where the id of a group's job is written."""
    return f"{store.directory(key)}/{ATTEMPTS}/{blocks_name(group)}"


def blocks(store: Store, key: str, names: Iterable[str]) -> list[Block]:
    """The blocks in those of some files of `attempts/` that hold any."""
    data = store.told(key, [name for name in names if name.endswith(blocks_name(""))])
    return [block for name, text in data.items() for block in Submitted.loads(text, where=name).blocks]


class Told:
    """What is told of some elements: the last word of each attempt, the claims, and the blocks that they went to."""

    def __init__(self, store: Store, key: str, elements: Iterable[int]) -> None:
        names = store.attempts(key)
        self.files: dict[str, dict[int, set[int]]] = {"json": {}, "begun": {}, "next.json": {}}
        for found in filter(None, map(_NAME.fullmatch, names)):
            self.files[found["what"]].setdefault(int(found["element"]), set()).add(int(found["attempt"]))
        words, claims = (
            {name(e, n): (e, n) for e in elements for n in self.files[what].get(e, ())}
            for what, name in (("json", attempt_name), ("next.json", continuation_name))
        )
        data = store.told(key, [*words, *claims])
        self.outcomes = {words[name]: Outcome.loads(data[name], where=name) for name in words if name in data}
        self.claims = {claims[name]: Continuation.loads(data[name], where=name) for name in claims if name in data}
        self.last_claims = {element: claim for (element, _), claim in sorted(self.claims.items(), key=itemgetter(0))}
        self.blocks = blocks(store, key, names)

    def move(self, watched: Watched) -> None:
        """Have elements that are in another job than was known be known to be there."""
        for block in sorted(self.blocks, key=lambda block: block.attempts):
            for element in block.elements if block.attempts else ():
                here = watched.block(element)
                if here is None or here.attempts < block.attempts:
                    watched.move(element, block)

    def attempt(self, element: int, watched: Watched) -> int:
        """The number of an element's last attempt in the job where it is known to be, as far as anything tells.

        Those after a claim are of another job, whose id may not be known yet though it runs.
        """
        block = watched.block(element)
        before = block.attempts if block else 0
        claimed = [n for n in self.files["next.json"].get(element, ()) if n > before]
        seen = (self.files[what].get(element, set()) for what in ("json", "begun"))
        return min(claimed) if claimed else max([1 + before, *set().union(*seen)])
