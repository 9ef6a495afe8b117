"""CurrentWorker: the worker process of a pool in which a call runs."""

from __future__ import annotations

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_current: list[CurrentWorker] = []


class CurrentWorker:
    """The worker of a pool that makes the call: its number, and the values that earlier calls have left in `state`."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self.state: dict[str, Any] = {}
        """Values that the calls in this process share, such as a model or a connection. They end with the process."""

    def __repr__(self) -> str:
        return f"<worker {self.rank} of {self.world_size}>"


def set_current_worker(worker: CurrentWorker) -> None:
    """Make `current_worker()` return `worker` in this process."""
    _current[:] = [worker]


def current_worker() -> CurrentWorker:
    """Return the worker of a pool that this code runs in. Raises RuntimeError outside of a pool."""
    if not _current:
        raise RuntimeError("current_worker() works only in a pool: call it from a task, in a call of task.on(pool)")
    return _current[0]
