"""Grown pools: read from the records in `attempts/` which elements clients have added to an elastic pool."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from slurm.errors import ProtocolError, SlurmError
from slurm.protocol import Submitted
from slurm.protocol.pools import is_elastic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.protocol import Block, Submission

_log = logging.getLogger(__name__)

_BLOCKS = ".blocks.json"


class AttemptFiles(Protocol):
    """Reads the files in the `attempts/` of a submission."""

    def attempts(self, key: str) -> Sequence[str]:
        """Return the names of the files."""

    def read_attempts(self, key: str, names: Iterable[str]) -> Mapping[str, bytes | SlurmError]:
        """Read files: the bytes of each that exists, or an error if it cannot be read."""


def grown(
    store: AttemptFiles, submission: Submission, submitted: Submitted | None
) -> tuple[Submission, Submitted | None]:
    """Return the records of an elastic pool with the elements that were added. Raises TransportError."""
    if submitted is None or not is_elastic(submission.pool):
        return submission, submitted
    blocks = grown_blocks(store, submission.key, store.attempts(submission.key))
    count = max((block.first + block.count for block in blocks), default=0)
    return submission.replace(count=count), submitted.replace(blocks=tuple(blocks))


def grown_blocks(store: AttemptFiles, key: str, names: Iterable[str]) -> list[Block]:
    """Read the blocks in the files with these names in `attempts/`, in order. A damaged file is logged."""
    found: list[Block] = []
    for name, data in store.read_attempts(key, [name for name in names if name.endswith(_BLOCKS)]).items():
        if isinstance(data, SlurmError) and not isinstance(data, ProtocolError):
            raise data
        try:
            if isinstance(data, ProtocolError):
                raise data
            found += Submitted.loads(data, where=f"{key}: {name}").blocks
        except ProtocolError as error:
            _log.warning("ignoring elements of a pool, because their record is damaged: %s", error)
    return sorted(found, key=lambda block: block.first)
