"""SweepPoint: a point of a sweep as users see it, with its result."""

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
    """A point of a sweep, with its state at the time of the snapshot."""

    def __init__(
        self, directory: SweepDirectory, reader: SnapshotReader, places: Places, files: HomeFiles, point: Point
    ) -> None:
        self._directory, self._reader, self._places, self._files = directory, reader, places, files
        self.known = point

    @property
    def number(self) -> int:
        """The number of the point in the sweep, from 0."""
        return self.known.number

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the point."""
        return dict(self.known.params)

    @property
    def state(self) -> State:
        """The state of the point."""
        return self.known.state

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that the call of the point has returned or written. The result is not read for this."""
        return dict(self.known.ended.metrics or {}) if self.known.ended else {}

    @property
    def job(self) -> Job[Any]:
        """The job of the call that counts. Raises ConfigurationError if the point was not submitted."""
        if self.known.shard is None or self.known.call is None:
            raise ConfigurationError(f"point {self.number} of {self._directory.path.name} was not submitted")
        shard = self._directory.shards()[self.known.shard]
        place = self._places.of(shard.cluster)
        return Job(place, place.registry.get(shard.key), self.known.call)

    def result(self, timeout: float | None = None) -> Any:
        """Return the result of the call, from the collected files or else from the source; raise the error of the call.

        `timeout` is in seconds.
        """
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
        """Return the exception that `result()` would raise, or None. `timeout` is in seconds."""
        return None if self.state is State.DONE else self.job.exception(timeout)

    @property
    def files_are_here(self) -> bool:
        """Whether the files of the point were collected, so that `files` and `fetch` do not ask its source."""
        home = self._home
        return bool(home and home[1].files)

    def files(self) -> Sequence[WorkFile]:
        """Return the files in the output directory of the call, by name, as collected or else from the source."""
        home = self._home
        return self._files.files(*home) if home and home[1].files else self.job.files()

    def fetch(self, *patterns: str, to: str | os.PathLike[str]) -> list[Path]:
        """Copy the files of the point to a directory; return the paths of the copies.

        With patterns such as "out/*.h5", copies only files that match. Copies the collected files, or else the files
        that are at the source now. Raises TransportError if a pattern matches no file.
        """
        home = self._home
        if home and home[1].files:
            return self._files.copy(*home, patterns, to)
        return self.job.fetch(*patterns, to=to, wait=False)

    def logs(self, rank: int = 0, *, stderr: bool = False) -> str:
        """Return the output of the call so far, as collected or else from the source; see `Job.logs`."""
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
