"""`slurm du`, `slurm gc`: show how much space jobs take, and remove jobs that nothing needs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.cluster_argument import cluster_argument, cluster_of, nothing_on
from slurm.cli.output import Finite, json_option, show_json, show_table
from slurm.cli.parameters import State
from slurm.clusters import job_cleanup
from slurm.clusters.environment_cleanup import MOST_DAYS
from slurm.jobs.selection import labels_of
from slurm.options.labels import parse as parse_labels
from slurm.url import ClusterURL
from slurm.views.displays import duration, memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from slurm.clusters.job_cleanup import OldJob, Space
    from slurm.protocol.states import JobState

_DAY = 86400
_AGES = (("today", 1), ("this week", 7), ("30 days", 30), ("a year", 365))
"""The names of age groups, and the largest age of each in days."""
_OLDEST = "older"


@click.command()
@cluster_argument
@click.option(
    "--by", default="task", show_default=True, type=click.Choice(["task", "age", "job"]), help="How to group the jobs."
)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="Maximum number of groups.")
@json_option
def du(cluster: str | None, by: str, limit: int, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show how much space everything under the root of CLUSTER takes: jobs, environments and sent files.

    Then show the largest tasks, ages or jobs. An age is the time since the last change of a job's files.
    """
    place = cluster_of(cluster).place
    found = job_cleanup.space(place)
    totals = _grouped(found, lambda item: item.kind)
    jobs = [item for item in found if item.kind == "jobs"]
    groups = _grouped(jobs, {"task": _task, "age": _age, "job": lambda item: item.name}[by])
    if as_json:
        show_json({"root": place.store.root, "kinds": totals, "by": by, "groups": groups[:limit]})
    elif not found:
        nothing_on(cluster, f"there is nothing in {place.store.root}")
    else:
        show_table([("KIND", "NUMBER", "SIZE", "LAST CHANGE"), *_rows(totals)])
        output.show()
        show_table([(by.upper(), "JOBS", "SIZE", "LAST CHANGE"), *_rows(groups[:limit])])
        if len(groups) > limit:
            output.show(f"{len(groups) - limit} more: --limit {len(groups)}", err=True)


def _task(item: Space) -> str:
    return item.name.partition("/")[0]


def _age(item: Space) -> str:
    return next((name for name, days in _AGES if item.age < days * _DAY), _OLDEST)


def _grouped(items: Iterable[Space], name_of: Callable[[Space], str]) -> list[dict[str, Any]]:
    """Group the items by name, the largest group first."""
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        group = found.setdefault(name_of(item), {"name": name_of(item), "count": 0, "bytes": 0, "age": item.age})
        group["count"] += 1
        group["bytes"] += item.bytes
        group["age"] = min(group["age"], item.age)
    return sorted(found.values(), key=lambda group: (-group["bytes"], group["name"]))


def _rows(groups: Iterable[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [(g["name"], f"{g['count']}", memory(g["bytes"]), f"{duration(g['age'])} ago") for g in groups]


@click.command()
@cluster_argument
@click.option("--days", type=Finite(min=0, max=MOST_DAYS), help="Minimum number of days since the last change.")
@click.option("--task", metavar="NAME", help="Jobs of this task only; `*` matches any text. Quote it.")
@click.option("--label", "labels", multiple=True, help="Jobs with this label only: NAME=VALUE, or NAME. Repeatable.")
@click.option(
    "--state", "states", multiple=True, type=State(), help="Jobs whose calls are all in such a state only. Repeatable."
)
@click.option(
    "--reused", is_flag=True, help="Also jobs whose results later calls would reuse. Such calls are computed again."
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def gc(  # noqa: PLR0913, PLR0917 - click's way
    cluster: str | None,
    days: float | None,
    task: str | None,
    labels: tuple[str, ...],
    states: tuple[JobState, ...],
    reused: bool,  # noqa: FBT001
    dry_run: bool,  # noqa: FBT001
    yes: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Remove the jobs that meet all conditions, with their results and files. At least one condition is needed.

    A job stays, and the output says why, if it has not ended, if a job that stays needs its result, if its workflow
    has not ended, or if calls with reuse=True can use its results. Without CLUSTER, jobs of all schedulers under
    the root of the default cluster are removed. If the standard input is a terminal, shows the jobs and asks once.
    """
    if days is None and not (task or labels or states):
        raise click.UsageError("say which jobs: --days, --task, --label or --state; --dry-run shows what would happen.")
    choice = job_cleanup.Choice(days or 0.0, states, parse_labels(labels_of(labels)), task, reused)
    place = cluster_of(cluster).place
    if not (dry_run or yes) and sys.stdin.isatty():
        shown = job_cleanup.collect(place, choice, everywhere=cluster is None, dry_run=True)
        _confirm(shown, as_json)
        choice = choice._replace(keys={job.key for job in shown})
    found = job_cleanup.collect(place, choice, everywhere=cluster is None, dry_run=dry_run)
    if as_json:
        show_json([job._asdict() | {"removed": not job.kept and not dry_run} for job in found])
        return
    gone = [job for job in found if not job.kept]
    asked = choice.keys is not None and not all(job.kept for job in found)
    if found and not asked:  # the question has shown them
        show_table(gc_table(found))
    size = memory(sum(job.bytes for job in gone))
    words = "would be removed" if dry_run else "removed"
    if found:
        output.show(f"{len(gone)} of {len(found)} jobs {words}: {size}", err=True)
    else:
        nothing_on(cluster, "no job meets the conditions")


def _confirm(found: Sequence[OldJob], as_json: bool) -> None:  # noqa: FBT001 - the value of --json
    """Show the jobs, and ask whether they may be removed. Aborts the command if not."""
    gone = [job for job in found if not job.kept]
    if gone:
        with output.kept_for_json(as_json):
            show_table(gc_table(found))
        size = memory(sum(job.bytes for job in gone))
        click.confirm(
            f"Remove {len(gone)} job{'s' * (len(gone) != 1)} with all results ({size})?", abort=True, err=True
        )


def gc_table(found: Sequence[OldJob]) -> list[tuple[str, ...]]:
    """The jobs as rows of a table. If they are of several clusters, a column shows the cluster without its root."""
    rows = [("KEY", "CLUSTER", "SIZE", "UNCHANGED", "STAYS BECAUSE")]
    for job in found:
        cluster = str(ClusterURL.parse(job.cluster)._replace(root=None)) if job.cluster else "-"
        rows.append((job.key, cluster, memory(job.bytes), duration(job.age), job.kept or "-"))
    several = len({job.cluster for job in found if job.cluster}) > 1
    return [*rows] if several else [(row[0], *row[2:]) for row in rows]
