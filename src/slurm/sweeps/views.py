"""Views: the status, table and errors of a sweep. Each is made from a snapshot, and writes nothing."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import ConfigurationError
from slurm.protocol.states import JobState
from slurm.sweeps.adaptive.progress import search_status
from slurm.sweeps.failures import Failure, grouped, message
from slurm.sweeps.snapshot import State
from slurm.sweeps.table import table_of
from slurm.views.displays import clock, duration, memory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.sweeps.adaptive.progress import SearchStatus
    from slurm.sweeps.adaptive.search import AdaptiveSearch
    from slurm.sweeps.adaptive.settings import Search
    from slurm.sweeps.failures import FailureGroup
    from slurm.sweeps.snapshot import Point, Snapshot
    from slurm.sweeps.table import Table

_ALIVE = State.ALIVE


class Status(NamedTuple):
    """How far a sweep is, as numbers of points."""

    total: int
    counts: Mapping[State, int]
    """The number of points in each state; states without points are left out."""
    sources: Mapping[str, Mapping[str, int]]
    """The number of points at each source by state: "done", "failed", or the scheduler's state of points that are
    alive.
    """
    troubles: Mapping[str, str]
    """Why sources do not answer, by URL."""
    search: SearchStatus | None = None
    """How far the search of an adaptive sweep is; None for other sweeps."""

    @property
    def ended(self) -> bool:
        """Whether no point is alive or in doubt."""
        return not (self.counts.get(State.ALIVE) or self.counts.get(State.IN_DOUBT))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        counts = {str(state): number for state, number in self.counts.items()}
        sources = {name: dict(found) for name, found in self.sources.items()}
        return {"points": self.total, "counts": counts, "sources": sources, "troubles": dict(self.troubles)} | (
            {"search": self.search._asdict()} if self.search else {}
        )

    def __str__(self) -> str:
        counts = ", ".join(f"{self.counts[state]} {state}" for state in State if self.counts.get(state))
        lines = [f"{self.total} points: {counts or 'none'}", *([str(self.search)] if self.search else [])]
        lines += [
            f"{source}: {', '.join(f'{number} {name}' for name, number in found.items())}"
            for source, found in self.sources.items()
        ]
        return "\n".join([*lines, *(f"{url} does not answer: {why}" for url, why in self.troubles.items())])


def status_of(snapshot: Snapshot, search: Search | None = None) -> Status:
    """Count the points of a snapshot by state, and find the best one if the sweep is a search."""
    kinds = Counter((point.source, point.state, point.state is _ALIVE and point.job_state) for point in snapshot.points)
    sources: dict[str, Counter[str]] = {}
    for (source, state, job_state), count in kinds.items():
        if source is not None and state is not State.MISSING:
            sources.setdefault(source, Counter())[str(job_state if state is _ALIVE else state)] += count
    counts = {state: snapshot.counts[state] for state in State if snapshot.counts.get(state)}
    order = [str(state) for state in (State.DONE, *JobState, State.FAILED, State.IN_DOUBT)]
    by_source = {name: {key: found[key] for key in order if found[key]} for name, found in sorted(sources.items())}
    found = search_status(snapshot.points, search) if search else None
    return Status(len(snapshot.points), counts, by_source, snapshot.troubles, found)


def errors_of(snapshot: Snapshot) -> list[FailureGroup]:
    """Return the failed points in groups of the same kind, the most frequent first."""
    failed = (point for point in snapshot.points if point.state is State.FAILED)
    return grouped(Failure(point.number, point.ended) for point in failed if point.ended is not None)


def recent_of(snapshot: Snapshot, limit: int) -> list[Point]:
    """Return the points that have ended last, newest first, by the nodes' clocks."""
    ended = [point for point in snapshot.points if point.ended is not None and point.ended.ended is not None]
    return sorted(ended, key=lambda point: -_time(point))[:limit]


def facts_of_point(point: Point) -> dict[str, Any]:
    """Return the facts about a point as plain data."""
    ended = point.ended
    return {
        "point": point.number,
        "state": str(point.state),
        "source": point.source,
        "params": dict(point.params),
        "ended": ended and ended.ended,
        "seconds": ended and ended.seconds,
        "node": point.node,
        "metrics": dict((ended and ended.metrics) or {}),
        "error": message(ended) if ended and not ended.succeeded else None,
    }


def why_of(snapshot: Snapshot, number: int, name: str) -> str:
    """Explain the state of a point of the sweep `name`, and what to do about it.

    Raises ConfigurationError if there is no such point.
    """
    if not 0 <= number < len(snapshot.points):
        raise ConfigurationError(f"there is no point {number}: the sweep has {len(snapshot.points)}, from 0")
    point = snapshot.points[number]
    lines = [f"point {number}, {', '.join(f'{name}={value!r}' for name, value in point.params.items())}: {point.state}"]
    if point.shard is None or point.call is None:
        return "\n".join([*lines, "it was never submitted: complete() submits it"])
    shard = snapshot.shards[point.shard]
    job = f"{shard.key}[{point.call}]"
    begun = f"{point.attempts} attempt{'s' if point.attempts != 1 else ''}"
    lines.append(f"it is job {job} at {shard.source}, in shard {point.shard} ({shard.why}); {begun}")
    if point.ended is not None:
        lines += _ending(point)
    elif point.state is State.ALIVE:
        reason = f": {point.reason}" if point.reason else ""
        lines.append(f"{point.job_state}{reason}{f', on {point.node}' if point.node else ''}")
    else:
        lines.append(f"{shard.source} does not answer: {point.reason}")
    if point.state is not State.MISSING:
        lines.append(f"its output: slurm sweep logs {shlex.quote(name)} {number}")
    lines += {
        State.FAILED: ["complete(failed=True) submits it again"],
        State.MISSING: ["complete() submits it again"],
        State.IN_DOUBT: ["complete(take_over=True) computes it at another source meanwhile"],
    }.get(point.state, [])
    if point.twins:
        lines.append(f"it has succeeded in shards {', '.join(map(str, point.twins))}, too; the one above counts")
    return "\n".join(lines)


def _ending(point: Point) -> list[str]:
    ended = point.ended
    if ended is None:
        return []
    if not ended.succeeded:
        reason = f" ({ended.reason})" if ended.reason else ""
        return [f"{ended.state}: {message(ended)}{reason}{f', on {ended.host}' if ended.host else ''}"]
    took = f"took {duration(ended.seconds)}" if ended.seconds is not None else "succeeded"
    peak = f", peak memory {memory(ended.peak_memory)}" if ended.peak_memory else ""
    numbers = f"; {', '.join(f'{name}={number}' for name, number in ended.metrics.items())}" if ended.metrics else ""
    when = f" at {clock(ended.ended)}" if ended.ended is not None else ""
    return [f"{took}{peak} on {ended.host or 'a node'}{when}{numbers}"]


def _time(point: Point) -> float:
    return (point.ended.ended or 0.0) if point.ended else 0.0


class Views:
    """The views of a sweep. A subclass defines `name` and `snapshot`. The methods write nothing, on any machine."""

    name: str
    search: AdaptiveSearch | None

    def snapshot(self) -> Snapshot:
        """Return the state of every point now. A subclass defines this."""
        raise NotImplementedError

    def status(self) -> Status:
        """Return how far the sweep is, in total and at each source."""
        return status_of(self.snapshot(), self.search.settings if self.search else None)

    def table(self) -> Table:
        """Return a row for each point: parameters, metrics, state, source, seconds, memory in bytes, attempts.

        No result is unpickled: the metrics come from the outcomes.
        """
        return table_of(self.snapshot().points)

    def errors(self) -> list[FailureGroup]:
        """Return the failed points in groups. Numbers, addresses, paths and hosts in the messages do not count."""
        return errors_of(self.snapshot())

    def recent(self, limit: int = 10) -> Sequence[Point]:
        """Return the `limit` points that have ended last, newest first."""
        return recent_of(self.snapshot(), limit)

    def why(self, number: int) -> str:
        """Explain the state of a point, and what to do about it."""
        return why_of(self.snapshot(), number, self.name)
