"""Submit missing points: prepare every source, write a record of each shard with link(2), then queue the shard."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from slurm.clusters import environment_cache
from slurm.errors import ConfigurationError, SlurmError, SubmissionRefused
from slurm.jobs.launching import check_ranks
from slurm.jobs.submit import describe_pickled, submit_draft
from slurm.options import Options
from slurm.protocol import Edge
from slurm.protocol.ranges import in_order
from slurm.storage.keys import new_key
from slurm.submission import requests
from slurm.sweeps.code import Code, code_of
from slurm.sweeps.records import Shard
from slurm.sweeps.snapshot import State
from slurm.sweeps.spreading import Share, room, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from slurm.jobs.plan import Draft
    from slurm.protocol import ResolvedEnvironment
    from slurm.storage.uploads import Uploads
    from slurm.submission.submission_state import SubmissionState
    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.snapshot import Snapshot, SnapshotReader
    from slurm.sweeps.sources import Places, Source
    from slurm.tasks.settings import Settings
    from slurm.tasks.task import Task

_log = logging.getLogger(__name__)


class Ready(NamedTuple):
    """A source whose environment is ready, with the code and the settings of its submissions."""

    source: Source
    spec: Mapping[str, Any]
    code: Code
    uploads: Uploads
    settings: Settings
    environment: ResolvedEnvironment


class Unit:
    """What the points of a sweep call: a task of this process, or the code that another process has pickled."""

    def __init__(self, directory: SweepDirectory, task: Task[..., Any] | None) -> None:
        self._directory, self.task = directory, task
        self._codes: dict[tuple[str, ...], tuple[Code, Uploads]] = {}

    @property
    def settings(self) -> Settings:
        """The options and the environment of the task."""
        return self.task.terms if self.task else self._newest().settings

    @property
    def digest(self) -> str:
        """The digest of the code."""
        return self._code(())[0].digest

    @property
    def command(self) -> bool:
        """Whether the task is a command, which runs a program."""
        return self._code(())[0].command

    def code(self, environment: ResolvedEnvironment, *, at: str) -> tuple[Code, Uploads]:
        """Return the code for an environment. Raises ConfigurationError if the Python there cannot load the code."""
        code, uploads = self._code(environment.modules)
        if code.tag != environment.tag and not environment.program:
            raise ConfigurationError(
                f"{at} has Python {environment.tag}, and the code of this sweep is of Python {code.tag}: open the "
                "sweep with its task, Sweep.open(name, task)"
            )
        return code, uploads

    def _code(self, modules: tuple[str, ...]) -> tuple[Code, Uploads]:
        if modules not in self._codes:
            if self.task is None:
                code = self._newest()
                self._codes[modules] = code, code.uploads(self._directory.path)
            else:
                self._codes[modules] = code_of(self.task, modules)
        return self._codes[modules]

    def _newest(self) -> Code:
        shards = self._directory.shards()
        if not shards:
            raise ConfigurationError(
                f"{self._directory.path.name} was never run, so its code is not stored: open it with its task, "
                "Sweep.open(name, task)"
            )
        return Code.read(self._directory.path, shards[max(shards)].code)


def prepare(unit: Unit, sources: Sequence[Source], options: Options, places: Places) -> list[Ready]:
    """Make the environment of every source, before anything is queued; return the sources that are ready.

    A source that fails is logged by name, and left out. Raises the first error if all sources fail.
    """
    ready, first = list[Ready](), None
    places.expect(sources)
    for source in sources:
        place, do = source.cluster.place, partial(_prepared, unit, source, options)
        try:  # The first build may take minutes. It runs in this thread, so that Ctrl-C releases its lock.
            ready.append(places.act(place, "prepare", do) if place.prepared else do())
        except SlurmError as error:
            first = first or error
            _log.error("%s is left out: %s", source.name, error)
    if first is not None and not ready:
        raise first
    return ready


def settings_of(unit: Unit, source: Source, options: Options) -> Settings:
    """Return the settings for points at a source: with metrics, and without `reuse`, which the sweep does itself."""
    settings = source.cluster.settings.merged(unit.settings)
    defaults, without = Options.parse({"metrics": True}), Options.parse({"reuse": None})
    return settings.replace(options=defaults.merged(settings.options, options, without))


def _prepared(unit: Unit, source: Source, options: Options) -> Ready:
    place, settings = source.cluster.place, settings_of(unit, source, options)
    environment = environment_cache.prepare(
        place, settings.environment or (), settings.options, for_program=unit.command
    )
    if unit.task is not None:
        check_ranks(unit.task, settings.options, environment, mapped=True)
    code, uploads = unit.code(environment, at=source.name)
    place.blobs.send(uploads)
    return Ready(source, source.spec, code, uploads, settings, environment)


def draft_of(
    ready: Ready,
    key: str,
    points: Sequence[Mapping[str, Any]],
    *,
    slots: int | None,
    sweep: str,
    edges: Sequence[Edge] = (),
) -> Draft:
    """Describe the submission of some points at a source. Writes nothing."""
    options = ready.settings.options.merged(Options.parse({"labels": {"sweep": sweep}}))
    if slots is not None:
        most = min(slots, int(options.get("max_concurrent") or slots))
        options = options.merged(Options.parse({"max_concurrent": most}))
    return describe_pickled(
        ready.source.cluster.place,
        key,
        ready.code.task,
        ready.code.calls(points),
        count=len(points),
        edges=edges,
        options=options,
        environment=ready.environment,
        uploads=ready.uploads,
    )


class Submitted(NamedTuple):
    """How many points were submitted, the points that sources have refused, by source, and the first error."""

    points: int
    refused: Mapping[str, Sequence[int]]
    error: SlurmError | None


class Submitter:
    """Submits points of one sweep."""

    def __init__(self, directory: SweepDirectory, reader: SnapshotReader, places: Places) -> None:
        self._directory, self._reader, self._places = directory, reader, places

    def submit(
        self,
        ready: Sequence[Ready],
        wanted: Callable[[Snapshot], list[int]],
        *,
        why: str,
        strategy: str = "slots",
        look: bool = True,
    ) -> Submitted:
        """Submit the points that `wanted` selects from a snapshot, as one shard for each source.

        The record of a shard, with the next number, claims its points. A process that finds the number taken decides
        again with a new snapshot, so only one of several processes submits each point. Without `look`, the snapshots
        contain only what this process knows.
        """
        for each in ready:
            each.code.write(self._directory.path, each.uploads)
        submitted, first = 0, None
        refused: dict[str, Sequence[int]] = {}
        left = list(ready)
        snapshot = self._reader.read(look=look)
        numbers = wanted(snapshot)
        chunks = {requests.chunk_size(each.settings.options) for each in ready}
        parts = spread(numbers, [self._share(each, snapshot) for each in left], strategy=strategy, chunk=max(chunks))
        while left and numbers:
            each, some = left[0], parts[0]
            if some:
                claimed = self._claim(each, some, snapshot, why)
                if claimed is None:
                    snapshot = self._reader.read(look=look)
                    still = set(wanted(snapshot))
                    parts = [[number for number in part if number in still] for part in parts]
                    continue
                number, shard = claimed
                try:
                    self._reader.learn_state(number, self._queue(each, shard, snapshot))
                    submitted += len(some)
                except SlurmError as error:
                    first = first or error
                    if isinstance(error, SubmissionRefused) and error.certain:
                        refused[each.source.name] = some
                    _log.error("%s takes no points: %s", each.source.name, error)
                snapshot = snapshot._replace(shards={**snapshot.shards, number: shard})
            left, parts = left[1:], parts[1:]
        return Submitted(submitted, refused, first)

    def _share(self, ready: Ready, snapshot: Snapshot) -> Share:
        alive = _alive(snapshot, ready)
        return Share(ready.source.slots, sum(left for _, left in alive.values()))

    def _claim(self, ready: Ready, numbers: Sequence[int], snapshot: Snapshot, why: str) -> tuple[int, Shard] | None:
        """Write the record of a shard under the next number after a snapshot; returns None if this number is taken."""
        slots, _ = room(ready.source.slots, _alive(snapshot, ready))
        found = {p.number: p.shard for p in snapshot.points if p.state is State.IN_DOUBT and p.shard is not None}
        shard = Shard(
            cluster=ready.spec,
            source=ready.source.name,
            slots=slots,
            key=new_key(ready.code.task),
            points=in_order(numbers),
            chunk=requests.chunk_size(ready.settings.options),
            code=ready.code.name,
            why=why,
            instead=tuple(sorted({found[n] for n in numbers if n in found})),
        )
        number = max(snapshot.shards, default=0) + 1
        return (number, shard) if self._directory.claim(number, shard) else None

    def _queue(self, ready: Ready, shard: Shard, snapshot: Snapshot) -> SubmissionState:
        """Write the submission of a shard at its source, and queue the submission.

        If the source stops answering, the submission may still be queued there later. Its key shows whether it was.
        """
        place, params = ready.source.cluster.place, self._directory.points()
        alive = _alive(snapshot, ready)
        _, after = room(ready.source.slots, alive)
        edges = [Edge(key=alive[after][0].key, on="any")] if after is not None else []
        points = [params[number] for number in shard.numbers]
        name = self._directory.path.name
        draft = draft_of(ready, shard.key, points, slots=shard.slots, sweep=name, edges=edges)
        return self._places.act(place, "submit", lambda: submit_draft(place, draft, ()))


def _alive(snapshot: Snapshot, ready: Ready) -> dict[int, tuple[Shard, int]]:
    """Return the shards at a source that have not ended, each with the number of its elements that have not ended."""
    left: dict[int, set[int]] = {}
    for point in snapshot.points:
        if point.state in (State.ALIVE, State.IN_DOUBT) and point.shard is not None and point.call is not None:
            left.setdefault(point.shard, set()).add(point.call // snapshot.shards[point.shard].chunk)
    url = str(ready.spec["url"])
    return {
        number: (shard, len(left[number]))
        for number, shard in snapshot.shards.items()
        if number in left and shard.url == url
    }
