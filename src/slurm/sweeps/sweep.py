"""Sweep: the points of a space, computed by a task or a command at several sources; any process can complete them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from slurm.clusters.cluster import Cluster
from slurm.errors import ConfigurationError
from slurm.options import Options
from slurm.sweeps.adaptive.running import SLOTS, AdaptiveRunning
from slurm.sweeps.adaptive.search import AdaptiveSearch
from slurm.sweeps.adaptive.settings import Search, check_same, search_of, with_trials
from slurm.sweeps.code import check_task
from slurm.sweeps.collecting import remove_collected
from slurm.sweeps.directory import OUTPUTS, SweepDirectory
from slurm.sweeps.driver import REBALANCE_EVERY, Driver
from slurm.sweeps.home_files import HomeFiles
from slurm.sweeps.moving import cancel_calls
from slurm.sweeps.planning import plan_points
from slurm.sweeps.points import new_points, points_of
from slurm.sweeps.records import REDO, SweepRecord
from slurm.sweeps.running import Running, changed, in_states, tell_changed
from slurm.sweeps.snapshot import SnapshotReader, State
from slurm.sweeps.sources import Places, sources_of
from slurm.sweeps.submitting import Unit
from slurm.sweeps.sweep_point import SweepPoint
from slurm.sweeps.views import Views

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from typing_extensions import Self, Unpack

    from slurm.options.types import TaskOptions
    from slurm.sweeps.adaptive.settings import SearchOptions
    from slurm.sweeps.health import Health
    from slurm.sweeps.planning import SweepPlan
    from slurm.sweeps.reports.compare import Comparison
    from slurm.sweeps.running import Chunk
    from slurm.sweeps.snapshot import Point, Snapshot
    from slurm.sweeps.sources import On
    from slurm.tasks.task import Task

MOST_POINTS = 1_000_000


class Sweep(Views):
    """The points of a space; each is computed by a call of a task or a command. Any process can open it by its `name`.

        sweep = Sweep(train, grid(lr=[1e-3, 1e-2], depth=range(2, 6)), name="depths")
        sweep.run(on=["cpu:40", "local:2"])
        for point in sweep.as_completed():
            print(point.params, point.result())

    The constructor writes nothing. If a sweep of this name exists, the constructor opens it, and the points of `space`
    must be among its points. To add points, use `Sweep.open(name, task).extend(space)`. `directory` holds the sweeps.
    The text `config` is written beside the points, as sweep_config.yaml.

    With `sampler="tpe"` or "random", the sweep is an adaptive search: `space` has ranges, and a sampler chooses points
    as others end. `metric` names the number to search for, `direction` is "minimize" or "maximize", `trials` is the
    number of points in all, `seed` is the seed of the sampler, and `prune="median"` stops points that are worse than
    the others were.
    """

    def __init__(
        self,
        task: Task[..., Any],
        space: Iterable[Mapping[str, Any]] | Mapping[str, Any],
        *,
        name: str | None = None,
        directory: str | os.PathLike[str] = OUTPUTS,
        max_points: int = MOST_POINTS,
        config: str | None = None,
        **search: Unpack[SearchOptions],
    ) -> None:
        self.name = _checked(
            name or f"{task.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(2).hex()}"
        )
        settings = search_of(space, search)
        points = {} if settings or isinstance(space, Mapping) else points_of(space, most=max_points)
        path = Path(directory) / self.name
        self._new: list[dict[str, Any]] | None = list(points.values())
        self._config = config
        if name is not None and path.exists():
            opened = SweepDirectory.open(path)
            check_same(opened, settings)
            if missing := new_points(opened.points(), points):
                raise ConfigurationError(
                    f"the sweep {name!r} exists, and {len(missing)} of these {len(points)} points are not of it, such "
                    f"as {missing[0]}: add them with Sweep.open({name!r}, task).extend(space), or choose another name"
                )
            self._set(opened, task, settings)
            self._new = None
        else:
            self._set(SweepDirectory(path), task, settings)
        check_task(task, [settings.example] if settings else list(points.values()))

    def _set(self, directory: SweepDirectory, task: Task[..., Any] | None, search: Search | None) -> None:
        self.directory, self.places = directory, Places()
        self.reader = SnapshotReader(directory, self.places)
        self._unit, self._files = Unit(directory, task), HomeFiles(directory.path)
        parts = directory, self.reader, self.places, self._unit
        self.search = AdaptiveSearch(directory, search) if search else None
        self.running = AdaptiveRunning(*parts, self.search) if self.search else Running(*parts)

    @classmethod
    def open(
        cls, name: str, task: Task[..., Any] | None = None, *, directory: str | os.PathLike[str] = OUTPUTS
    ) -> Self:
        """Open a sweep that any process has run. Later points use its newest code, or `task` as it is now.

        Raises ConfigurationError if there is no such sweep.
        """
        found = cls.__new__(cls)
        found.name, found._new, found._config = _checked(name), None, None  # noqa: SLF001 - of this class
        opened = SweepDirectory.open(Path(directory) / name)
        found._set(opened, task, Search.of(opened.record, where=str(opened.path)))  # noqa: SLF001
        if task is not None:
            check_task(task, found.directory.points())
        return found

    def run(
        self,
        on: On | Iterable[On] | None = None,
        *,
        strategy: str = "slots",
        chunk: Chunk = None,
        seconds: float | None = None,
        trials: int | None = None,
        **options: Unpack[TaskOptions],
    ) -> Self:
        """Submit the points that are missing, as one array for each source; do not wait for them.

        `on` names the sources, such as ["cpu:40", "local:2"]: clusters in the Slurmfile or URLs, with the most elements
        that run at once; by default, the active cluster. `strategy` spreads the points over the sources: "slots" (in
        proportion to the slots), "round_robin", "least_loaded", "random", or "priority" (in the order of `on`). `chunk`
        is the number of points in one element. With "auto", this number is computed from the durations of the first
        20 points, and a driver submits the others; with `seconds`, from the duration of a point. `options` override the
        options of the task. The environments of all sources are made first; a source that fails is logged and left out.
        An adaptive search asks for points while there are free slots; a driver asks for the others, up to `trials` in
        all.
        """
        self._want(trials)
        self._create()
        wanted, given = in_states(State.MISSING), Options.parse(options)
        self.running.submit(on, wanted, why="run", strategy=strategy, options=given, chunk=chunk, seconds=seconds)
        return self

    def complete(
        self,
        on: On | Iterable[On] | None = None,
        *,
        failed: bool = False,
        take_over: bool = False,
        redo: Literal["changed"] | None = None,
        strategy: str = "slots",
        chunk: Chunk = None,
        seconds: float | None = None,
        trials: int | None = None,
        **options: Unpack[TaskOptions],
    ) -> Self:
        """Submit the missing points, and with `failed` the failed ones, like `run`. Other points are left alone.

        Points at a source that does not answer are in doubt, not missing. With `take_over`, they are submitted, too,
        and their earlier submissions are fenced as soon as that source answers. Such points may run twice; the result
        that is collected first counts. With `redo="changed"`, points that other code has computed are computed again.
        Raises ConfigurationError for another value of `redo`, and for `redo` with `chunk="auto"`.
        """
        if redo not in (None, "changed"):
            raise ConfigurationError(f'redo={redo!r}: write redo="changed"')
        if redo and chunk == "auto":
            raise ConfigurationError("redo='changed' with chunk='auto': say chunk= or seconds=")
        self._want(trials)
        given = Options.parse(options)
        others = changed(self.directory, self._unit)
        if redo:
            self.running.submit(on, others, why=REDO, strategy=strategy, options=given, chunk=chunk, seconds=seconds)
        elif self._unit.task is not None and (found := others(snapshot := self.snapshot())):
            tell_changed(found, snapshot)
        states = [State.MISSING, *([State.FAILED] if failed else []), *([State.IN_DOUBT] if take_over else [])]
        wanted = in_states(*states)
        self.running.submit(on, wanted, why="complete", strategy=strategy, options=given, chunk=chunk, seconds=seconds)
        return self

    def plan(
        self,
        on: On | Iterable[On] | None = None,
        *,
        strategy: str = "slots",
        chunk: int | None = None,
        **options: Unpack[TaskOptions],
    ) -> SweepPlan:
        """Return what `run` would submit: each source's share, script and CPU-hours. Makes, writes and queues nothing.

        Takes the command that probes each source, and the commands that look for its environment.
        """
        given = Options.parse({**options, **({"chunk_size": chunk} if chunk else {})})
        points: Sequence[Mapping[str, Any]] = self._new or []
        if self.search:
            points = [self.search.settings.example] * sum(
                each.slots or SLOTS for each in sources_of(on or Cluster.current())
            )
        elif not points:
            points = [point.params for point in self.snapshot().points if point.state is State.MISSING]
        sources = sources_of(Cluster.current() if on is None else on)
        return plan_points(self._unit, sources, points, options=given, strategy=strategy, sweep=self.name)

    def extend(self, space: Iterable[Mapping[str, Any]]) -> Self:
        """Add the points of a space that the sweep does not have yet; `complete` or `run` submits them."""
        self._create()
        wanted = points_of(space, most=MOST_POINTS)
        if self.search:
            for params in wanted.values():
                self.search.settings.check(params)
        if self._unit.task is not None:
            check_task(self._unit.task, list(wanted.values()))
        while new := new_points(self.directory.points(), wanted):
            if self.directory.extend(self.directory.extensions + 1, new):
                break
        return self

    def cancel(self) -> int:
        """Cancel the points that wait or run, at all sources; returns how many. These points are then missing."""
        return cancel_calls(self.snapshot(), self.reader, self.places)

    def ask(self, n: int = 1) -> list[SweepPoint]:
        """Add `n` points that the sampler chooses now; `run` or `complete` submits them.

        Returns fewer points if the space has no others.
        Raises ConfigurationError for a sweep without a sampler.
        """
        search = self._adaptive()
        self._create()
        numbers = search.ask(n)
        self.reader.read(look=False)
        return [self.point(self.reader.point(number)) for number in numbers]

    def tell(self, *points: SweepPoint) -> int:
        """Give the sampler the metrics of ended points; without arguments, of all points that have ended.

        Returns how many of these results are new. A driver calls this by itself.
        """
        search = self._adaptive()
        self._create()
        return search.tell([each.known for each in points] if points else self.snapshot().points)

    def _adaptive(self) -> AdaptiveSearch:
        if self.search is None:
            raise ConfigurationError(f'{self.name} has no sampler: Sweep(task, ranges, sampler="tpe", metric="loss")')
        return self.search

    def collect(self) -> int:
        """Copy home the outcomes, results and files of points that have ended; returns how many new outcomes."""
        return self.driver().collect()

    def cleanup(self, *, execute: bool = False) -> list[str]:
        """Return the directories at the sources that are no longer needed, because all their files were collected.

        With `execute`, removes these directories. Directories with failed points, or with logs or files that are too
        large to be collected, are kept.
        """
        return remove_collected(self.snapshot(), self.reader, self.places, execute=execute)

    def snapshot(self) -> Snapshot:
        """Return the state of every point now. Writes nothing, on any machine."""
        return self.reader.read()

    @property
    def points(self) -> list[SweepPoint]:
        """All points, as they are now."""
        return list(map(self.point, self.snapshot().points))

    def report(self, directory: str | os.PathLike[str] | None = None) -> list[Path]:
        """Write three reports: completion, performance and errors. Each is one HTML file with plots; returns the paths.

        The files go into `directory`, by default `reports/` of the sweep, and replace older ones.
        """
        from slurm.sweeps.reports.files import write_reports  # noqa: PLC0415 - few programs write reports

        to = Path(directory or self.directory.path / "reports")
        return write_reports(self.name, self.snapshot(), to, self.search.settings if self.search else None)

    def export(self, directory: str | os.PathLike[str] | None = None, *, all: bool = False) -> list[str]:  # noqa: A002
        """Collect the sweep, and write it as a tree of plain files, by default into its directory.

        See the page on sweeps. If there are more than 5 000 points, only points that failed or left files have a
        directory; with `all`, every point has one. Returns a line for each file that could not be read at its source.
        """
        from slurm.sweeps.reports.export import Export  # noqa: PLC0415 - few programs export

        self.collect()
        to = Path(directory or self.directory.path)
        search = self.search.settings if self.search else None
        return Export(self.directory, self.places, self.point, search).write(self.snapshot(), to, everything=all)

    def compare(self, other: Sweep) -> Comparison:
        """Compare the points that both sweeps have: each metric of `other` minus the same metric of this sweep."""
        from slurm.sweeps.reports.compare import compared  # noqa: PLC0415 - as above

        return compared(self.snapshot().points, other.snapshot().points)

    def as_completed(self, *, stop_after: int | None = None) -> Generator[SweepPoint, None, None]:
        """Yield each point that is done or has failed, as it ends; stop when all submitted points have ended.

        Meanwhile, this process drives the sweep: it collects outcomes and small results; it moves points that wait at a
        source that is off or slow to the other sources of the last `run` or `complete`; and it submits points that
        another client claimed but did not submit before it died. A source is off after three faults of its place in a
        row. After `stop_after` failures that are alike, the sweep is cancelled. Raises SweepStopped and NoSourceLeft.
        """
        with closing(self.driver(stop_after=stop_after).points()) as points:
            yield from map(self.point, points)

    def drive(self, *, stop_after: int | None = None) -> Snapshot:
        """Drive the sweep as `as_completed` does; returns the state of all points at the end."""
        for _ in self.driver(stop_after=stop_after).points():
            pass
        return self.snapshot()

    def driver(
        self, *, stop_after: int | None = None, rebalance_every: float = REBALANCE_EVERY, health: Health | None = None
    ) -> Driver:
        """Return a driver, for programs that need the points as a snapshot has them, or the health of the sources.

        Waiting points may move every `rebalance_every` seconds, and whenever a source goes off or is used again.
        """
        return Driver(
            self.directory,
            self.reader,
            self.places,
            self.running,
            stop_after=stop_after,
            rebalance_every=rebalance_every,
            health=health,
        )

    def point(self, point: Point) -> SweepPoint:
        """Return a point of a snapshot with access to its result."""
        return SweepPoint(self.directory, self.reader, self.places, self._files, point)

    def _want(self, trials: int | None) -> None:
        """Let a driver ask for `trials` points in all; None changes nothing."""
        if trials is not None:
            search = self._adaptive()
            search.settings = with_trials(search.settings, trials)

    def _create(self) -> None:
        """Write the sweep, unless it exists. Raises ConfigurationError if the existing one has other points."""
        if self._new is None:
            return
        task = self._unit.task
        record = SweepRecord(
            id=self.name,
            task=task.name if task else "",
            count=len(self._new),
            created=time.time(),
            search=self.search.settings.to_json() if self.search else None,
        )
        made = SweepDirectory.create(self.directory.path, record, self._new, self._config)
        if made is None and new_points(self.directory.points(), points_of(self._new, most=len(self._new))):
            raise ConfigurationError(f"another process has made a sweep {self.name!r} with other points")
        self._new = None

    def __len__(self) -> int:
        """The number of points."""
        return len(self._new or self.directory.points())

    def __repr__(self) -> str:
        return f"<Sweep {self.name} in {self.directory.path.parent}>"


def _checked(name: str) -> str:
    if not name or name.startswith(".") or "/" in name or not name.isprintable() or len(name) > 200:
        raise ConfigurationError(f"name={name!r}: write a name that can be one of a directory, such as 'depths'")
    return name
