"""Health: which sources work, by the faults of their places, and which failures are alike."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from slurm.errors import SlurmError
from slurm.protocol import SETUP
from slurm.protocol.states import JobState
from slurm.sweeps.failures import pattern_of

if TYPE_CHECKING:
    from slurm.sweeps.records import Ended
    from slurm.sweeps.snapshot import Point

_FAULTS = (JobState.LOST, JobState.NODE_FAIL, JobState.BOOT_FAIL)


class SweepStopped(SlurmError):
    """A sweep was stopped because many points failed with similar errors. `pattern` describes these errors."""

    def __init__(self, message: str, *, pattern: str) -> None:
        super().__init__(message)
        self.pattern = pattern


class NoSourceLeft(SlurmError):
    """All sources of a sweep are off, so the sweep cannot continue until its user acts."""


class Health:
    """The faults of the sources of one sweep, as far as this process has seen them.

    A source is off after `most` faults in a row. `probe_after` seconds later, one point may be sent there; if it
    succeeds, the source is used again. A failure of the user's code is not a fault. A failure of the set-up counts
    only if the same sweep has had a success at another source.
    """

    def __init__(self, *, most: int = 3, probe_after: float = 600.0) -> None:
        self.most, self.probe_after = most, probe_after
        self._faults: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}
        self._off_since: dict[str, float] = {}
        self._good: set[str] = set()
        self._announced: set[str] = set()
        self._patterns: Counter[str] = Counter()

    def note(self, point: Point) -> None:
        """Count the success, the fault or the failure of the call of a point."""
        if point.ended is None or point.source is None:
            return
        if point.ended.succeeded:
            self._good.add(point.source)
            self._faults.pop(point.source, None)
            self._off_since.pop(point.source, None)
        elif _is_fault(point.ended, elsewhere=bool(self._good - {point.source})):
            self.fault(point.source, point.ended.reason or point.ended.message or point.ended.state.value)
        elif not point.ended.withdrawn:
            self._patterns[pattern_of(point.ended)] += 1

    def fault(self, source: str, reason: str) -> None:
        """Count a fault of a source."""
        self._faults[source] += 1
        self._reasons[source] = reason
        if self._faults[source] >= self.most:
            self._off_since.setdefault(source, time.monotonic())

    def is_new(self, source: str) -> bool:
        """Whether a source has gone off, or on again, since the last call of this method for this source."""
        off = source in self._off_since
        changed = off != (source in self._announced)
        (self._announced.add if off else self._announced.discard)(source)
        return changed

    def is_off(self, source: str) -> bool:
        """Whether a source is off, so that no points are sent there for now."""
        return source in self._off_since

    def probe_is_due(self, source: str) -> bool:
        """Whether one point may be sent to a source that is off. If so, the next is due `probe_after` seconds later."""
        due = self.is_off(source) and time.monotonic() - self._off_since[source] >= self.probe_after
        if due:
            self._off_since[source] = time.monotonic()
        return due

    def reason(self, source: str) -> str:
        """Return the reason of the last fault of a source; empty if there was none."""
        return self._reasons.get(source, "")

    def most_alike(self) -> tuple[str, int]:
        """Return the most frequent pattern of failures, and how many points have failed in this way."""
        return max(self._patterns.items(), key=lambda item: item[1], default=("", 0))


def _is_fault(ended: Ended, *, elsewhere: bool) -> bool:
    return ended.state in _FAULTS or (ended.phase == SETUP and elsewhere)
