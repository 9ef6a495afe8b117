"""Selection: the jobs of a place that a user wants to see, by task, labels, states and time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slurm.jobs.facts import facts_of, pool_now
from slurm.jobs.find import newest_first
from slurm.options.labels import parse as parse_labels
from slurm.storage.keys import of_task, submitted_at
from slurm.views.displays import clock
from slurm.views.overview import overviews

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from slurm.places.place import Place
    from slurm.protocol.states import JobState


class Wanted(NamedTuple):
    """The jobs to list."""

    task: str | None
    labels: Sequence[str]
    states: Sequence[JobState]
    since: float | None

    def __str__(self) -> str:
        named = [f"of {self.task}"] if self.task else []
        named += [f"with {' '.join(self.labels)}"] if self.labels else []
        named += [f"that are {' or '.join(self.states)}"] if self.states else []
        named += [f"since {clock(self.since)}"] if self.since is not None else []
        return "".join(f" {each}" for each in named)


def found_jobs(
    place: Place, wanted: Wanted, keys: Sequence[str], limit: int, *, everywhere: bool
) -> list[dict[str, Any]]:
    """The facts about the wanted jobs among `keys`, at most `limit`. With `everywhere`, jobs of any scheduler."""
    found: list[dict[str, Any]] = []
    labels = parse_labels(labels_of(wanted.labels))
    for some in newest_first(place, _chosen(keys, wanted), at_once=limit, labels=labels, everywhere=everywhere):
        jobs = some if wanted.states else some[: limit - len(found)]
        for job, overview in zip(jobs, overviews([job.part for job in jobs]), strict=True):
            if not wanted.states or any(overview.states[state] for state in wanted.states):
                pool = pool_now(job.part, overview.calls) if overview.calls or job.part.state.may_grow else {}
                found.append(facts_of(job, overview) | ({"pool": pool} if pool else {}))
        if len(found) >= limit:
            break
    return found[:limit]


def labels_of(labels: Iterable[str]) -> dict[str, str | None]:
    """The labels to look for; None for any value."""
    found = (label.partition("=") for label in labels)
    return {name: value if equals else None for name, equals, value in found}


def _chosen(keys: Sequence[str], wanted: Wanted) -> Sequence[str]:
    """The keys of the wanted task that were submitted since the wanted time."""
    if wanted.task:
        keys = of_task(keys, wanted.task)
    if wanted.since is not None:
        keys = [key for key in keys if (submitted_at(key) or 0.0) >= int(wanted.since)]  # keys have whole seconds
    return keys
