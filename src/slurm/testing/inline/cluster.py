"""InlineCluster: a cluster for tests, with its own root and short waits."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

from slurm.clusters.cluster import Cluster
from slurm.places.place import Place
from slurm.runner.placeholder_resolver import PlaceholderResolver
from slurm.testing.inline.queue import queue

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from slurm.testing.inline.queue import InlineQueue


_MEMORY = "/dev/shm"  # noqa: S108 - a directory of the system
"""A file system in memory, on systems that have one: the protocol writes with fsync, which waits for a disk."""


class InlineCluster(Cluster):
    """`Cluster("inline")` with a temporary root; takes the other arguments of `Cluster`.

        with InlineCluster() as cluster:
            cluster.queue.play("TIMEOUT", task="train", attempt=1)
            assert train(3).result() == 9

    Within the `with` block, the client waits for fractions of a second where it waits for seconds on other clusters. At
    the end of the block, jobs are cancelled, the queue is emptied, and the temporary root is removed. A directory given
    as `root` is kept.
    """

    queue: InlineQueue = queue
    """The queue of this process, which plays failures."""

    def __init__(self, *, root: str | os.PathLike[str] | None = None, **arguments: Any) -> None:
        directory = _MEMORY if os.access(_MEMORY, os.W_OK) else tempfile.gettempdir()
        own = f"{directory}/slurm-inline-{os.urandom(8).hex()}"
        super().__init__("inline", root=root or own, **arguments)
        self._own = None if root else own

    def __enter__(self) -> Self:
        self.queue.reset()
        self._timings, self._lag = Place.timings, PlaceholderResolver.lag
        Place.timings = self._timings._replace(  # the class: workflows make places, too
            slowest_look=0.05, explained_grace=0.1, unexplained_grace=0.5, verdict=0.1, resubmit_pause=0.1
        )
        PlaceholderResolver.lag = 0.1
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel the jobs, empty the queue, and remove the temporary root."""
        super().__exit__(kind, error, trace)
        self.queue.reset()
        Place.timings, PlaceholderResolver.lag = self._timings, self._lag
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)
