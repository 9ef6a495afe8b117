"""Sweep: the points of a space, computed by a task or a command at several sources, resumed and completed anywhere."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurm.clusters.cluster import Cluster
from slurm.errors import ConfigurationError
from slurm.jobs.job import Job
from slurm.options import Options
from slurm.sweeps.code import check_task
from slurm.sweeps.collecting import result_of
from slurm.sweeps.directory import OUTPUTS, SweepDirectory
from slurm.sweeps.driver import Driver
from slurm.sweeps.points import new_points, points_of
from slurm.sweeps.records import SweepRecord
from slurm.sweeps.snapshot import SnapshotReader, State
from slurm.sweeps.sources import Places, sources_of
from slurm.sweeps.submitting import Submitter, Unit, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Self, Unpack

    from slurm.options.types import TaskOptions
    from slurm.sweeps.snapshot import Point, Snapshot
    from slurm.sweeps.sources import On, Source
    from slurm.tasks.task import Task

MOST_POINTS = 1_000_000


class SweepPoint:
    """A point of a sweep, as it was when the sweep was looked at."""

    def __init__(self, sweep: Sweep, point: Point) -> None:
        self._sweep, self.known = sweep, point

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
            raise ConfigurationError(f"point {self.number} of {self._sweep.name} was not submitted")
        shard = self._sweep.directory.shards()[self.known.shard]
        place = self._sweep.places.of(shard.cluster)
        return Job(place, place.registry.get(shard.key), self.known.call)

    def result(self, timeout: float | None = None) -> Any:
        """The result of its call, from what was collected or else from its source; raises what the call raised."""
        at = self._sweep.reader.result_at(self.known.shard, self.known.call)
        return self.job.result(timeout) if at is None else result_of(self._sweep.directory.path, at)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception that `result()` would raise, or None."""
        return None if self.state is State.DONE else self.job.exception(timeout)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.known.params.items())
        return f"<point {self.number} of {self._sweep.name}: {shown}: {self.state}>"


class Sweep:
    """The points of a space, each a call of a task or a command; `name` finds the sweep again, in any process.

        sweep = Sweep(train, grid(lr=[1e-3, 1e-2], depth=range(2, 6)), name="depths")
        sweep.run(on=["cpu:40", "local:2"])
        for point in sweep.as_completed():
            print(point.params, point.result())

    The constructor writes nothing. If there is a sweep of this name, it is opened: equal points are its points. Points
    that it does not have are an error; `Sweep.open(name, task).extend(space)` adds them. `directory` holds the sweeps.
    """

    def __init__(
        self,
        task: Task[..., Any],
        space: Iterable[Mapping[str, Any]],
        *,
        name: str | None = None,
        directory: str | os.PathLike[str] = OUTPUTS,
        max_points: int = MOST_POINTS,
    ) -> None:
        self.name = _checked(
            name or f"{task.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(2).hex()}"
        )
        points = points_of(space, most=max_points)
        path = Path(directory) / self.name
        self._new = list(points.values())
        if name is not None and path.exists():
            opened = SweepDirectory.open(path)
            if missing := new_points(opened.points(), points):
                raise ConfigurationError(
                    f"the sweep {name!r} exists, and {len(missing)} of these {len(points)} points are not of it, such "
                    f"as {missing[0]}: add them with Sweep.open({name!r}, task).extend(space), or choose another name"
                )
            self._set(opened, task)
            self._new = []
        else:
            self._set(SweepDirectory(path), task)
        check_task(task, list(points.values()))

    def _set(self, directory: SweepDirectory, task: Task[..., Any] | None) -> None:
        self.directory, self.places = directory, Places()
        self.reader = SnapshotReader(directory, self.places)
        self._unit = Unit(directory, task)
        self._submitter = Submitter(directory, self.snapshot)
        self._sources: list[Source] = []
        self._options = Options.parse({})

    @classmethod
    def open(
        cls, name: str, task: Task[..., Any] | None = None, *, directory: str | os.PathLike[str] = OUTPUTS
    ) -> Self:
        """Open a sweep that any process has run. It goes on with its newest code, or with `task` as it is now.

        Raises ConfigurationError if there is none.
        """
        found = cls.__new__(cls)
        found.name, found._new = _checked(name), []  # noqa: SLF001 - of this class
        found._set(SweepDirectory.open(Path(directory) / name), task)  # noqa: SLF001
        if task is not None:
            check_task(task, found.directory.points())
        return found

    def run(
        self, on: On | Iterable[On] | None = None, *, strategy: str = "slots", **options: Unpack[TaskOptions]
    ) -> Self:
        """Submit the points that are missing, each source's as one array; return at once.

        `on` names the sources, such as ["cpu:40", "local:2"]: clusters of the Slurmfile or URLs, with the most elements
        that run at once; by default the active cluster. `strategy` spreads the points: "slots", in proportion;
        "round_robin", "least_loaded", "random", or "priority", in the order given. `options` go over those of the task.
        The environments of all sources are made first; a source that fails is logged, and the rest goes on.
        """
        self._create()
        self._submit(on, [State.MISSING], strategy=strategy, options=options, why="run")
        return self

    def complete(
        self,
        on: On | Iterable[On] | None = None,
        *,
        failed: bool = False,
        strategy: str = "slots",
        **options: Unpack[TaskOptions],
    ) -> Self:
        """Submit what is missing, and with `failed` what has failed; what waits or runs is left alone.

        What other processes have submitted since is known. Points of a source that does not answer are in doubt, not
        missing.
        """
        states = [State.MISSING, *([State.FAILED] if failed else [])]
        self._submit(on, states, strategy=strategy, options=options, why="complete")
        return self

    def snapshot(self) -> Snapshot:
        """The state of every point now. Writes nothing, here or there."""
        return self.reader.read()

    @property
    def points(self) -> list[SweepPoint]:
        """All points, as they are now."""
        return [SweepPoint(self, point) for point in self.snapshot().points]

    def as_completed(self) -> Iterator[SweepPoint]:
        """Each point that is done or has failed, as it ends; ends when all that was submitted has ended.

        Meanwhile this process drives the sweep: it collects outcomes and small results, and submits anew what a client
        has claimed and, because it died, never submitted.
        """
        return (SweepPoint(self, point) for point in self._driver().points())

    def drive(self) -> Snapshot:
        """Drive the sweep until all that was submitted has ended; returns how it ended."""
        for _ in self._driver().points():
            pass
        return self.snapshot()

    def _driver(self) -> Driver:
        return Driver(self.directory, self.reader, self.places, resubmit=self._resubmit)

    def _create(self) -> None:
        """Write the sweep, unless it exists."""
        if not self._new:
            return
        task = self._unit.task
        record = SweepRecord(id=self.name, task=task.name if task else "", count=len(self._new), created=time.time())
        made = SweepDirectory.create(self.directory.path, record, self._new)
        if made is None and new_points(self.directory.points(), points_of(self._new, most=len(self._new))):
            raise ConfigurationError(f"another process has made a sweep {self.name!r} with other points")
        self._new = []

    def _submit(
        self,
        on: On | Iterable[On] | None,
        states: Sequence[State],
        *,
        strategy: str,
        options: TaskOptions,
        why: str,
    ) -> int:
        self._sources = sources_of(Cluster.current() if on is None else on)
        self._options = Options.parse(options)
        return self._submit_points(lambda snapshot: snapshot.numbers(*states), strategy=strategy, why=why)

    def _submit_points(self, wanted: Any, *, strategy: str = "slots", why: str) -> int:
        if not wanted(self.snapshot()):
            return 0
        ready = prepare(self._unit, self._sources, self._options)
        for each in ready:
            self.places.add(each.source)
        return self._submitter.submit(ready, wanted, why=why, strategy=strategy)

    def _resubmit(self, numbers: Sequence[int]) -> None:
        """Submit points anew that a client has claimed and never submitted."""
        if not self._sources:
            shards = self.directory.shards()
            self._sources = [self.places.source(shards[max(shards)])]
        self._submit_points(partial(_missing_of, frozenset(numbers)), why="abandoned")

    def __repr__(self) -> str:
        return f"<Sweep {self.name} in {self.directory.path.parent}>"


def _missing_of(numbers: frozenset[int], snapshot: Snapshot) -> list[int]:
    return [number for number in snapshot.numbers(State.MISSING) if number in numbers]


def _checked(name: str) -> str:
    if not name or name.startswith(".") or "/" in name or not name.isprintable() or len(name) > 200:
        raise ConfigurationError(f"name={name!r}: write a name that can be one of a directory, such as 'depths'")
    return name
