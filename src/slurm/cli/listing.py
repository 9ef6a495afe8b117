"""`slurm jobs`, or `slurm ls`: list submissions, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from slurm.cli import output
from slurm.cli.cluster_argument import cluster_argument, cluster_of
from slurm.cli.jobs import calls_of, counts_of, facts_of, time_of
from slurm.cli.output import json_option, show_json, show_table
from slurm.cli.parameters import Moment, State
from slurm.jobs.search import newest_first
from slurm.options.labels import parse as parse_labels
from slurm.storage.keys import of_task, submitted_at, tasks_of
from slurm.url import ClusterURL
from slurm.views.overview import overviews

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from slurm.places.place import Place
    from slurm.protocol.states import JobState

_TASKS = 20
"""The number of tasks that a message names."""


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
        named += [f"since {time_of(self.since)}"] if self.since is not None else []
        return "".join(f" {each}" for each in named)


@click.command()
@cluster_argument
@click.option("--task", metavar="NAME", help="List jobs of this task only; `*` stands for any text. Quote it.")
@click.option(
    "--label", "labels", multiple=True, help="List jobs with this label only: NAME=VALUE, or NAME. Repeatable."
)
@click.option(
    "--state", "states", multiple=True, type=State(), help="List jobs with a call in this state only. Repeatable."
)
@click.option(
    "--since", type=Moment(), metavar="TIME", help="List jobs since then only: 30m, 12h or 2d ago, or a date."
)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="Maximum number of jobs.")
@json_option
def jobs(  # noqa: PLR0917 - click's way
    cluster: str | None,
    task: str | None,
    labels: tuple[str, ...],
    states: tuple[JobState, ...],
    since: float | None,
    limit: int,
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """List the jobs that were submitted to CLUSTER, newest first.

    Without CLUSTER, list the jobs of all clusters that keep them under the root of the default cluster.
    """
    place, wanted = cluster_of(cluster).place, Wanted(task, labels, states, since)
    keys = place.store.keys()
    found = found_jobs(place, wanted, keys, limit, everywhere=cluster is None)
    if as_json:
        show_json(found)
    elif found:
        show_table(_table(found, clusters=cluster is None))
    if not found:
        where = f"on {place.url}" if cluster else f"in {place.store.root}"
        output.show_prose([f"there are no jobs{wanted} {where}{_tasks(keys, task)}"], err=True)


def _chosen(keys: Sequence[str], wanted: Wanted) -> Sequence[str]:
    """The keys of the task, since the time."""
    if wanted.task:
        keys = of_task(keys, wanted.task)
    if wanted.since is not None:
        keys = [key for key in keys if (submitted_at(key) or 0.0) >= int(wanted.since)]  # keys have whole seconds
    return keys


def _table(found: Iterable[dict[str, Any]], *, clusters: bool) -> list[tuple[str, ...]]:
    """The facts as rows of a table, with a column for the cluster, without its root, if wanted."""
    rows: list[tuple[str, ...]] = [("KEY", "CLUSTER", "JOB", "SUBMITTED", "CALLS", "STATES")]
    for item in found:
        cluster = str(ClusterURL.parse(item["cluster"])._replace(root=None))
        submitted, count = time_of(item["submitted"]) or "-", calls_of(item)
        rows.append((item["key"], cluster, item["job_id"] or "-", submitted, count, counts_of(item)))
    return rows if clusters else [(row[0], *row[2:]) for row in rows]


def found_jobs(
    place: Place, wanted: Wanted, keys: Sequence[str], limit: int, *, everywhere: bool
) -> list[dict[str, Any]]:
    """The facts about at most `limit` of the jobs of some keys that are wanted. With `everywhere`, of any scheduler."""
    found: list[dict[str, Any]] = []
    labels = parse_labels(labels_of(wanted.labels))
    for some in newest_first(place, _chosen(keys, wanted), at_once=limit, labels=labels, everywhere=everywhere):
        jobs = some if wanted.states else some[: limit - len(found)]
        for job, overview in zip(jobs, overviews([job.part for job in jobs]), strict=True):
            if not wanted.states or any(overview.states[state] for state in wanted.states):
                found.append(facts_of(job, overview))
        if len(found) >= limit:
            break
    return found[:limit]


def labels_of(labels: Iterable[str]) -> dict[str, str | None]:
    """The labels to look for; None for any value."""
    found = (label.partition("=") for label in labels)
    return {name: value if equals else None for name, equals, value in found}


def _tasks(keys: Sequence[str], task: str | None) -> str:
    """Tell which tasks there are, if there is none of this name."""
    names = sorted({name for key in keys for name in tasks_of(key)})
    if not task or not names or of_task(keys, task):
        return ""
    more = f" and {len(names) - _TASKS} more" if len(names) > _TASKS else ""
    return f"; there are jobs of {', '.join(names[:_TASKS])}{more}"
