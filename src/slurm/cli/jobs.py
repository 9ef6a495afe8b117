"""`slurm jobs`, or `slurm ls`: list submissions, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from slurm.cli.cluster_argument import cluster_argument, cluster_of, nothing_on
from slurm.cli.one_job import calls_of, counts_of, time_of
from slurm.cli.output import json_option, show_json, show_table
from slurm.cli.parameters import Moment, State
from slurm.jobs.facts import pool_text
from slurm.jobs.selection import Wanted, found_jobs
from slurm.storage.keys import of_task, tasks_of
from slurm.url import ClusterURL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from slurm.protocol.states import JobState

_TASKS = 20
"""The largest number of tasks that a message names."""


@click.command()
@cluster_argument
@click.option("--task", metavar="NAME", help="List jobs of this task only; `*` matches any text. Quote it.")
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

    Without CLUSTER, list the jobs of all clusters under the root of the default cluster.
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
        nothing_on(cluster, f"there are no jobs{wanted} {where}{_tasks(keys, task)}")


def _table(found: Iterable[dict[str, Any]], *, clusters: bool) -> list[tuple[str, ...]]:
    """The facts as rows of a table. With `clusters`, a column shows the cluster without its root."""
    rows: list[tuple[str, ...]] = [("KEY", "CLUSTER", "JOB", "SUBMITTED", "CALLS", "STATES")]
    for item in found:
        cluster = str(ClusterURL.parse(item["cluster"])._replace(root=None))
        submitted, count = time_of(item["submitted"]) or "-", calls_of(item)
        states = "; ".join(filter(None, (counts_of(item), pool_text(item.get("pool", {})))))
        rows.append((item["key"], cluster, item["job_id"] or "-", submitted, count, states))
    return rows if clusters else [(row[0], *row[2:]) for row in rows]


def _tasks(keys: Sequence[str], task: str | None) -> str:
    """List the existing tasks, if no task has this name."""
    names = sorted({name for key in keys for name in tasks_of(key)})
    if not task or not names or of_task(keys, task):
        return ""
    more = f" and {len(names) - _TASKS} more" if len(names) > _TASKS else ""
    return f"; there are jobs of {', '.join(names[:_TASKS])}{more}"
