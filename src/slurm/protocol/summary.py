"""Summary: the record in `summary.json` of how the calls of a large map have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.protocol import Document, ranges
from slurm.protocol.states import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any


class Summary(Document):
    """`summary.json`: how the calls of a large map have ended, so that listings need not read each outcome again.

    A client that has read all outcomes writes it. Outcomes do not change, so it stays true.
    """

    states: Mapping[str, int]
    """The number of calls in each state, by the state's name."""
    bounds: tuple[int, ...] = ()
    """The calls that failed: the first and the last of each range, in ascending order."""
    seconds: float | None = None
    """Seconds from the first start to the last end, by the nodes' clocks."""
    peak_memory: int | None = None
    """The largest peak memory of a call, in bytes."""

    @classmethod
    def of(cls, states: Mapping[str, int], failed: Iterable[int], **facts: Any) -> Summary:
        """Return the record for calls in these states, of which the calls `failed` have failed."""
        return cls(states=states, bounds=ranges.bounds(failed), **facts)

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        if not ranges.are_bounds(self.bounds):
            return "bounds are not ranges of calls in ascending order"
        known = {state.value for state in JobState}
        unknown = [name for name in self.states if name not in known]
        return f"there is no state {unknown[0]!r}" if unknown else None

    @property
    def failed(self) -> Iterator[int]:
        """The calls that failed, in ascending order."""
        return ranges.within(self.bounds)
