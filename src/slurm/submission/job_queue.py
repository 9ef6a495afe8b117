"""JobQueue: the scheduler of one place: its identity, its limits, and the client that runs its commands."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from slurm.protocol import Block
from slurm.submission.origins import Here

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurm.protocol import Origin, Submission
    from slurm.schedulers.base import Scheduler
    from slurm.schedulers.client import SchedulerClient
    from slurm.transports.base import Completed


class JobQueue:
    """The scheduler of one place. Connects when information from the place is first needed.

    `name` is the scheduler's name in URLs. `scheduler` and `connect` make the scheduler and its client; `limits` gives
    the output of the scheduler's limits command, which the probe of the place runs.
    """

    def __init__(
        self,
        name: str,
        *,
        scheduler: Callable[[], Scheduler],
        connect: Callable[[], SchedulerClient],
        limits: Callable[[], Completed],
    ) -> None:
        self.name = name
        self._make_scheduler, self._connect, self._read_limits = scheduler, connect, limits
        self._client: SchedulerClient | None = None
        self._max_array_size: int | None = None
        self.after_fork()

    def after_fork(self) -> None:
        """Replace the lock: after fork, a thread that exists only in the parent may hold it."""
        self._lock = threading.RLock()

    @property
    def scheduler(self) -> Scheduler:
        """Builds the commands of the scheduler, and parses their output."""
        return self._make_scheduler()

    @property
    def client(self) -> SchedulerClient:
        """Runs the commands of the scheduler. The first use may send the runner's zip, which can hold the commands."""
        with self._lock:
            if self._client is None:
                client = self._connect()
                client.calls["limits"] = 1  # run by the probe
                client.here = self.origin
                self._client = client
            return self._client

    @property
    def limits(self) -> str:
        """The output of the limits command."""
        return self._read_limits().stdout

    @property
    def origin(self) -> Origin | None:
        """The identity that this scheduler last reported; None if it reported none."""
        if self._client and self._client.here:
            return self._client.here
        done = self._read_limits()
        return self.scheduler.parse_origin(done.stdout) if done.status == 0 else None

    @property
    def here(self) -> Here:
        """The kind and the identity of this scheduler, to decide whether the ids of a submission belong to it."""
        return Here(self.scheduler.name, self.origin)

    @property
    def has_arrays(self) -> bool:
        """Whether the scheduler accepts job arrays. True if it did not report its limits."""
        done = self._read_limits()
        return done.status != 0 or self.scheduler.parse_max_array_size(done.stdout) > 0

    @property
    def max_array_size(self) -> int:
        """The maximum number of elements of one array, 0 without arrays. Queried again if the probe failed."""
        with self._lock:
            if self._max_array_size is None:
                done = self._read_limits()
                self._max_array_size = (
                    self.scheduler.parse_max_array_size(done.stdout)
                    if done.status == 0
                    else self.client.max_array_size()
                )
            return self._max_array_size

    def blocks(self, submission: Submission) -> list[Block]:
        """Split the elements of a submission into job arrays, or into single jobs where there are no arrays."""
        elements = submission.elements
        size = self.max_array_size if elements > 1 else 1
        origin = self.origin
        # A federation moves only jobs that are not arrays.
        movable = elements == 1 and origin is not None and origin.federation is not None
        array = None if size and self.has_arrays and not movable else False
        size = max(1, size)
        return [
            Block(first=first, count=min(size, elements - first), array=array, origin=origin)
            for first in range(0, elements, size)
        ]
