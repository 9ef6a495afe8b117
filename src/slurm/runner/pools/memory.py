"""MemoryKills: tells the workers that the kernel has killed for their memory from those that others have killed."""

from __future__ import annotations

import time

from slurm.runner.program import memory_kills

_RECENT_SECONDS = 1.0


class MemoryKills:
    """Counts the processes of this control group that the kernel has killed, and which of them were workers.

    The kernel tells how many it has killed, and not which. So each kill explains the death of one worker at most.
    """

    def __init__(self) -> None:
        self._count, self._counted_at = memory_kills(), time.monotonic()
        self._explained: set[int] = set()

    def recent(self) -> int:
        """The number of kills, as it was at most a second ago: to count them takes longer than many a call."""
        if time.monotonic() - self._counted_at > _RECENT_SECONDS:
            self._count, self._counted_at = memory_kills(), time.monotonic()
        return self._count

    def explain_death(self, since: int) -> bool:
        """Whether there was a kill after the first `since` ones that has explained no other death."""
        kill = next((each for each in range(since, memory_kills()) if each not in self._explained), None)
        if kill is None:
            return False
        self._explained.add(kill)
        return True
