"""MemoryKills: decides whether a worker was killed by the kernel because of its memory, or by someone else."""

from __future__ import annotations

import time

from slurm.runner.program import memory_kills

_RECENT_SECONDS = 1.0


class MemoryKills:
    """Counts the processes of this control group that the kernel has killed, and which of them were workers.

    The kernel reports how many processes it has killed, but not which. So a kill explains at most one worker's death.
    """

    def __init__(self) -> None:
        self._count, self._counted_at = memory_kills(), time.monotonic()
        self._explained: set[int] = set()

    def recent(self) -> int:
        """The number of kills, at most a second old, because counting takes longer than many calls."""
        if time.monotonic() - self._counted_at > _RECENT_SECONDS:
            self._count, self._counted_at = memory_kills(), time.monotonic()
        return self._count

    def explain_death(self, since: int) -> bool:
        """Whether there was a kill after the first `since` kills that has not yet explained another death."""
        kill = next((each for each in range(since, memory_kills()) if each not in self._explained), None)
        if kill is None:
            return False
        self._explained.add(kill)
        return True
