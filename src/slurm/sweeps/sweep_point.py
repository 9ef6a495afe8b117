"""SweepPoint: a point of a sweep for its user, with its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError
from slurm.jobs.job import Job
from slurm.sweeps.collecting import result_of
from slurm.sweeps.snapshot import State

if TYPE_CHECKING:
    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.snapshot import Point, SnapshotReader
    from slurm.sweeps.sources import Places


class SweepPoint:
    """A point of a sweep, as it was when the sweep was looked at."""

    def __init__(self, directory: SweepDirectory, reader: SnapshotReader, places: Places, point: Point) -> None:
        self._directory, self._reader, self._places, self.known = directory, reader, places, point

    @property
    def number(self) -> int:
        """Its number in the sweep, from 0."""
        return self.known.number

    @property
    def params(self) -> dict[str, Any]:
        """Its parameters."""
        return dict(self.known.params)

    @property
    def state(self) -> State:
        """Its state."""
        return self.known.state

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that its call has returned or written, without reading its result."""
        return dict(self.known.ended.metrics or {}) if self.known.ended else {}

    @property
    def job(self) -> Job[Any]:
        """The job of the call that counts. Raises ConfigurationError for a point that was not submitted."""
        if self.known.shard is None or self.known.call is None:
            raise ConfigurationError(f"point {self.number} of {self._directory.path.name} was not submitted")
        shard = self._directory.shards()[self.known.shard]
        place = self._places.of(shard.cluster)
        return Job(place, place.registry.get(shard.key), self.known.call)

    def result(self, timeout: float | None = None) -> Any:
        """The result of its call, from what was collected or else from its source; raises what the call raised."""
        at = self._reader.result_at(self.known.shard, self.known.call)
        return self.job.result(timeout) if at is None else result_of(self._directory.path, at)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception that `result()` would raise, or None."""
        return None if self.state is State.DONE else self.job.exception(timeout)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.known.params.items())
        return f"<point {self.number} of {self._directory.path.name}: {shown}: {self.state}>"
