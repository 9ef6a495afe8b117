"""SweepPoint: a point of a sweep for its user, with its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError, NoSuchJob
from slurm.jobs.job import Job
from slurm.sweeps.home_results import result_of
from slurm.sweeps.snapshot import State

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from slurm.storage.work_files import WorkFile
    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.home_files import HomeFiles
    from slurm.sweeps.records import Collected
    from slurm.sweeps.snapshot import Point, SnapshotReader
    from slurm.sweeps.sources import Places


class SweepPoint:
    """A point of a sweep, as it was when the sweep was looked at."""

    def __init__(
        self, directory: SweepDirectory, reader: SnapshotReader, places: Places, files: HomeFiles, point: Point
    ) -> None:
        self._directory, self._reader, self._places, self._files = directory, reader, places, files
        self.known = point

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
        home = self._home
        if home and home[1].result:
            return result_of(self._directory.path, home[1].result)
        try:
            return self.job.result(timeout)
        except NoSuchJob as error:
            if home and home[1].files:
                raise NoSuchJob(f"{error.args[0]}: its files came home, where fetch() and logs() read them") from None
            raise

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception that `result()` would raise, or None."""
        return None if self.state is State.DONE else self.job.exception(timeout)

    @property
    def files_are_here(self) -> bool:
        """Whether its files were collected, so that `files` and `fetch` do not ask its source."""
        home = self._home
        return bool(home and home[1].files)

    def files(self) -> Sequence[WorkFile]:
        """The files in the output directory of its call, by name, from what was collected or else from its source."""
        home = self._home
        return self._files.files(*home) if home and home[1].files else self.job.files()

    def fetch(self, *patterns: str, to: str | os.PathLike[str]) -> list[Path]:
        """Copy its files, or those that match a pattern such as "out/*.h5", to a directory; returns their paths here.

        Copies what was collected, or else what is at its source now. Raises TransportError if a pattern matches none.
        """
        home = self._home
        if home and home[1].files:
            return self._files.copy(*home, patterns, to)
        return self.job.fetch(*patterns, to=to, wait=False)

    def logs(self, rank: int = 0, *, stderr: bool = False) -> str:
        """The output of its call so far, from what was collected or else from its source; as `Job.logs`."""
        home = self._home
        if home and home[1].log is not None:
            return self._files.log(*home, rank, stderr=stderr)
        return self.job.logs(rank, stderr=stderr)

    @property
    def _home(self) -> tuple[int, Collected] | None:
        return self._reader.home(self.known.shard, self.known.call)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.known.params.items())
        return f"<point {self.number} of {self._directory.path.name}: {shown}: {self.state}>"
