"""`slurm jobs`, `show`, `cancel`, `logs`: what programs have submitted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from slurm.array import JobArray
from slurm.cli.places import cluster_of, show_json, show_table
from slurm.states import JobState
from slurm.statuses import statuses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.job import Job
    from slurm.watched import JobStatus

_on = click.option("--on", "cluster", metavar="CLUSTER", help="Where: a name in the Slurmfile, or a URL.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.argument("cluster", required=False)
@click.option("--task", help="Of one task only.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="How many at most.")
@_json
def jobs(cluster: str | None, task: str | None, limit: int, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """List what was submitted to CLUSTER, the newest first."""
    listed = cluster_of(cluster).jobs(task, limit=limit)
    told = statuses([job.part for job in listed])
    found = [_facts(job, some) for job, some in zip(listed, told, strict=True)]
    if as_json:
        show_json(found)
    elif found:
        rows = [(item["key"], item["job_id"] or "-", str(item["count"]), _counts(item["states"])) for item in found]
        show_table([("KEY", "JOB", "CALLS", "STATES"), *rows])


@click.command()
@click.argument("key")
@_on
@_json
def show(key: str, cluster: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show how far the job KEY is, and where its files are. The exit status is 1 if any of it has failed."""
    job = cluster_of(cluster).job(key)
    (told,) = statuses([job.part])
    facts = _facts(job, told)
    facts["directory"] = job.directory
    if not isinstance(job, JobArray):
        (status,) = told
        facts |= {"log": job.log_path, "node": status.node, "reason": status.reason}
        error = status.outcome.error if status.outcome else None
        facts["error"] = f"{error.type}: {error.message}" if error else None
    if as_json:
        show_json(facts)
    else:
        shown = {**facts, "states": _counts(facts["states"])}
        show_table([(name, str(value)) for name, value in shown.items() if value is not None])
    if any(JobState(state).final and state != JobState.COMPLETED for state in facts["states"]):
        raise SystemExit(1)


@click.command()
@click.argument("key")
@_on
@click.option("--keep-children", is_flag=True, help="Not what it has submitted, if it is a workflow.")
def cancel(key: str, cluster: str | None, keep_children: bool) -> None:  # noqa: FBT001 - click's way
    """End the job KEY, and what it has submitted, if it is a workflow; of a map, all that has not ended."""
    cluster_of(cluster).job(key).cancel(children=not keep_children)


@click.command()
@click.argument("key")
@click.option("--rank", default=0, type=click.IntRange(min=0), help="Of a task of several ranks, which one's.")
@_on
def logs(key: str, rank: int, cluster: str | None) -> None:
    """Print what the job KEY has printed; of a map, that of each call, in order."""
    job = cluster_of(cluster).job(key)
    if not isinstance(job, JobArray):
        click.echo(job.logs(rank), nl=False)
        return
    for one in job:
        click.echo(f"==> {one.key} <==")
        click.echo(one.logs(rank), nl=False)


def _facts(job: Job[Any] | JobArray[Any], told: Sequence[JobStatus]) -> dict[str, Any]:
    """What is known of a submission, as plain data."""
    states = Counter(status.state for status in told)
    first = job if not isinstance(job, JobArray) else job[0] if job else None
    job_id = first.job_id.partition("_")[0] if first is not None and first.job_id else None
    return {
        "key": job.key,
        "job_id": job_id,
        "count": len(told),
        "states": {state.value: states[state] for state in JobState if states[state]},
    }


def _counts(states: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in states.items())
