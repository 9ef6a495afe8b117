"""ElasticPools: learn which elements were added to elastic pools, and whether the pools are still open."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from slurm.errors import TransportError
from slurm.protocol.frames import CLOSED, HEAD_BYTES, head_at
from slurm.protocol.pools import ENDED
from slurm.protocol.shell import program
from slurm.storage.grown_pools import grown_blocks
from slurm.submission.growing_state import GrowingState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.storage.job_store import JobStore
    from slurm.submission.status import Settled
    from slurm.submission.submission_state import SubmissionState
    from slurm.transports.base import Transport

_log = logging.getLogger(__name__)

OPEN_DAYS = 30
"""A pool to which no client or element has written for this many days counts as closed: its clients were killed."""


class ElasticPools:
    """Reads what clients have written about the elastic pools under a root."""

    def __init__(self, store: JobStore, transport: Transport) -> None:
        self._store, self._transport = store, transport
        self._read: WeakKeyDictionary[SubmissionState, set[str]] = WeakKeyDictionary()
        """The records of added elements that were read: they never change."""

    def learn(self, several: Iterable[SubmissionState]) -> Sequence[Settled]:
        """Learn the growth of the elastic pools among submissions. Takes one command, and one more for new elements.

        A pool counts as open if its files cannot be read.
        """
        pools = [state for state in several if isinstance(state, GrowingState)]
        if not pools:
            return []
        try:
            found = pool_growth(self._transport, [self._store.directory(state.key) for state in pools])
            settled = []
            for state, growth in zip(pools, found, strict=True):
                read = self._read.setdefault(state, set())
                new = [name for name in growth.attempts if name not in read]
                settled.append(state.learn_growth(grown_blocks(self._store, state.key, new), may_grow=growth.may_grow))
                read.update(new)
        except TransportError as error:
            _log.warning("%s; trying again", error)
            return [state.learn_growth((), may_grow=True) for state in pools]
        return settled


class PoolGrowth(NamedTuple):
    """What the files of an elastic pool say about its growth."""

    attempts: Sequence[str]
    """The names of the files in `attempts/`."""
    may_grow: bool
    """Whether clients may add elements: a client has not closed the pool, or calls wait for an element."""


def pool_growth(transport: Transport, directories: Sequence[str]) -> list[PoolGrowth]:
    """Read the growth of the elastic pools in these directories, by one command. Raises TransportError.

    A client that was killed has not closed its pool. So a pool that has not changed for `OPEN_DAYS` also counts as
    closed.
    """
    lines = "".join(f"{directory}\n" for directory in directories)
    argv = ["sh", "-c", program(__name__, "elastic_pools.sh"), "sh", f"{OPEN_DAYS}", f"{HEAD_BYTES}"]
    done = transport.run(argv, stdin=lines.encode(errors="surrogateescape"), timeout=300)
    parts = done.stdout.split("= ")[1:]
    if done.status != 0 or len(parts) != len(directories):
        raise TransportError(f"the elastic pools cannot be read: {done.words[-500:]}")
    return [_growth(part.splitlines()[1:]) for part in parts]


def _growth(lines: Iterable[str]) -> PoolGrowth:
    attempts, is_open, changed = list[str](), False, False
    for word, _, rest in (line.partition(" ") for line in lines):
        if word == "attempt":
            attempts.append(rest)
        elif word == "client":
            is_open = is_open or not _has_closed(*rest.split(" "))
        changed = changed or word == "changed"
    return PoolGrowth(attempts, may_grow=is_open and changed and ENDED not in attempts)


def _has_closed(claims: str, end: str) -> bool:
    """Whether a client accepts no more calls, and all its calls were claimed. `end` is the end of its file `calls`."""
    head = head_at(bytes.fromhex(end))
    return head is not None and head.kind == CLOSED and int(claims) >= head.number
