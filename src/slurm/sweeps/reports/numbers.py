"""The numbers of reports: how many points are in each state, their time and memory, and how they failed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.sweeps.adaptive.progress import trials_of
from slurm.sweeps.reports.levels import levels_of
from slurm.sweeps.reports.spread import spread_of
from slurm.sweeps.snapshot import State
from slurm.sweeps.table import table_of
from slurm.sweeps.views import errors_of, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.sweeps.adaptive.progress import Trial
    from slurm.sweeps.adaptive.settings import Search
    from slurm.sweeps.failures import FailureGroup
    from slurm.sweeps.records import Ended
    from slurm.sweeps.reports.levels import Level
    from slurm.sweeps.reports.spread import Spread
    from slurm.sweeps.snapshot import Point, Snapshot
    from slurm.sweeps.views import Status

    Levels = Mapping[str, Sequence[Level]]

_STEPS = 200
"""The most moments at which the ended points are counted."""


class Progress(NamedTuple):
    """How many points had ended at the moment `time`, in seconds since the epoch by the nodes' clocks."""

    time: float
    done: int
    failed: int


class Completion(NamedTuple):
    """How far a sweep is."""

    status: Status
    progress: Sequence[Progress]
    parameters: Mapping[str, Mapping[str, Mapping[str, int]]]
    """For each parameter: its values, or ranges of values, and the number of points in each state."""
    trials: Sequence[Trial] = ()
    """The points of an adaptive search that have a value, in the order of their numbers."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        progress = [moment._asdict() for moment in self.progress]
        trials = {"trials": [trial._asdict() for trial in self.trials]} if self.status.search else {}
        return {**self.status.to_json(), "progress": progress, "parameters": self.parameters, **trials}


class Costs(NamedTuple):
    """The time and memory that some ended points took."""

    seconds: Spread | None
    memory: Spread | None
    """The largest resident set size of the processes, in bytes."""
    cpus: Spread | None
    """How many CPUs were busy on average: CPU time over duration."""

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON values."""
        return {name: spread and spread._asdict() for name, spread in self._asdict().items()}


class Performance(NamedTuple):
    """The time and memory that the succeeded points of a sweep took."""

    all: Costs
    computed: float
    """The sum of the durations, in seconds."""
    elapsed: float
    """The time from the first start to the last end, in seconds, by the nodes' clocks."""
    seconds: Sequence[float]
    memory: Sequence[float]
    sources: Mapping[str, Costs]
    parameters: Mapping[str, Mapping[str, Costs]]

    @property
    def concurrency(self) -> float | None:
        """How many points ran at once, on average."""
        return self.computed / self.elapsed if self.elapsed else None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, without the single durations and sizes."""
        parameters = {
            name: {level: costs.to_json() for level, costs in levels.items()}
            for name, levels in self.parameters.items()
        }
        return {
            "all": self.all.to_json(),
            "computed": self.computed,
            "elapsed": self.elapsed,
            "concurrency": self.concurrency,
            "sources": {name: costs.to_json() for name, costs in self.sources.items()},
            "parameters": parameters,
        }


class Failed(NamedTuple):
    """A group of points that failed alike, and the parameters that they have in common."""

    group: FailureGroup
    common: Mapping[str, Any]
    """The parameters that have one value in all points of the group, and other values elsewhere in the sweep.

    Empty for a single point.
    """

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**self.group._asdict(), "points": list(self.group.points), "common": dict(self.common)}


def parameter_levels(snapshot: Snapshot) -> Levels:
    """Return the values of each parameter, with their points; parameters with only one value are left out."""
    table = table_of(snapshot.points)
    found = {name: levels_of(table.column(name)) for name in table.parameters}
    return {name: levels for name, levels in found.items() if len(levels) > 1}


def completion_of(snapshot: Snapshot, levels: Levels, search: Search | None = None) -> Completion:
    """Count the points of a snapshot by state, in total and at each level of `parameter_levels`.

    `search` has the settings of an adaptive search.
    """
    states = [str(point.state) for point in snapshot.points]

    def counted(numbers: Sequence[int]) -> Mapping[str, int]:
        found = Counter(map(states.__getitem__, numbers))
        return {str(state): found[str(state)] for state in State if found[str(state)]}

    return Completion(
        status_of(snapshot, search),
        _progress(snapshot.points),
        _by_parameter(levels, counted),
        trials_of(snapshot.points, search) if search else (),
    )


def performance_of(snapshot: Snapshot, levels: Levels) -> Performance:
    """Sum up the time and memory of the succeeded points, in total and at each level of `parameter_levels`."""
    ended = {p.number: p.ended for p in snapshot.points if p.ended is not None and p.ended.succeeded}
    sources: dict[str, list[int]] = {}
    for number in ended:
        sources.setdefault(snapshot.points[number].source or "", []).append(number)

    def costs(numbers: Iterable[int]) -> Costs:
        return _costs([ended[number] for number in numbers if number in ended])

    seconds = [one.seconds for one in ended.values() if one.seconds is not None]
    starts = [one.started for one in ended.values() if one.started is not None]
    ends = [one.ended for one in ended.values() if one.ended is not None]
    return Performance(
        costs(ended),
        sum(seconds),
        max(ends) - min(starts) if starts and ends else 0.0,
        seconds,
        [one.peak_memory for one in ended.values() if one.peak_memory],
        {name: costs(numbers) for name, numbers in sorted(sources.items())},
        _by_parameter(levels, costs),
    )


def failures_of(snapshot: Snapshot) -> list[Failed]:
    """Return the groups of points that failed alike, the most frequent first."""
    groups = errors_of(snapshot)
    if not groups:
        return []
    table = table_of(snapshot.points)
    columns = {name: table.column(name) for name in table.parameters}
    varied = {name: column for name, column in columns.items() if any(value != column[0] for value in column)}
    return [Failed(group, _common(group, varied)) for group in groups]


def _common(group: FailureGroup, columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the parameters that have one value in all points of a group."""
    first, *others = group.points
    equal = {name: all(column[at] == column[first] for at in others) for name, column in columns.items()}
    return {name: columns[name][first] for name, same in equal.items() if same and others}


def _progress(points: Sequence[Point]) -> list[Progress]:
    """Return how many points had ended, at moments that are evenly spread over the ends of the points."""
    ends = sorted(
        (point.ended.ended, point.state is State.DONE)
        for point in points
        if point.ended is not None and point.ended.ended is not None and point.state in (State.DONE, State.FAILED)
    )
    found, done = list[Progress](), 0
    every = max(1, -(-len(ends) // _STEPS))
    for number, (when, succeeded) in enumerate(ends, 1):
        done += succeeded
        if number % every == 0 or number == len(ends):
            found.append(Progress(when, done, number - done))
    return found


def _by_parameter(levels: Levels, sum_up: Callable[[Sequence[int]], Any]) -> dict[str, dict[str, Any]]:
    """Return the result of `sum_up` for the points at each level of each parameter."""
    return {name: {level.label: sum_up(level.rows) for level in some} for name, some in levels.items()}


def _costs(ended: Sequence[Ended]) -> Costs:
    cpus = [
        one.cpu_seconds / (one.ended - one.started)
        for one in ended
        if one.cpu_seconds is not None and one.ended is not None and one.started is not None and one.ended > one.started
    ]
    return Costs(
        spread_of(one.seconds for one in ended if one.seconds is not None),
        spread_of(one.peak_memory for one in ended if one.peak_memory),
        spread_of(cpus),
    )
