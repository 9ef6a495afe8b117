"""`slurm tool` on a run directory: submit its stages, and show how they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.output import json_option, show_json, show_table
from slurm.cli.tool import tool_of
from slurm.cli.tool_status import FAILED, exits
from slurm.tools.registry import open_run
from slurm.views.status import error_of, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slurm.tools.run import Run

ALL = "all"


def _of_a_run(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument DIR and the option --tool, which open a run."""
    named = click.option("--tool", "name", metavar="NAME", help="The tool, if it is not installed: FILE.py:CLASS.")
    return click.argument("directory", metavar="DIR")(named(exits(command)))


def _opened(directory: str, name: str | None) -> Run:
    return open_run(directory, tool_of(name) if name else None)


stage_option = click.option(
    "--stage", "-s", "stages", multiple=True, default=[ALL], metavar="STAGE|all", help="A stage; repeatable."
)


def _chosen(stages: Sequence[str]) -> Sequence[str]:
    return () if ALL in stages else stages


@click.command()
@_of_a_run
@stage_option
@click.option("--on", metavar="CLUSTER", help="The cluster that the run was prepared for.")
@click.option("--depend-afterok", multiple=True, metavar="ID", help="Wait for a job of another program; repeatable.")
@click.option("--again", is_flag=True, help="Submit stages that were submitted before.")
@click.option("--dry-run", is_flag=True, help="Show scripts and commands. Writes nothing.")
@json_option
def submit(  # noqa: PLR0917 - click's way
    directory: str,
    name: str | None,
    stages: Sequence[str],
    on: str | None,
    depend_afterok: Sequence[str],
    again: bool,  # noqa: FBT001
    dry_run: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Submit stages of the run DIR, by default all, and print the key of each job. Does not wait."""
    run = _opened(directory, name)
    if dry_run:
        plans = run.plan(*_chosen(stages), on=on)
        if as_json:
            found = {stage: (list(plan.commands), plan.script) for stage, plan in plans.items()}
            show_json([{"stage": stage, "commands": c, "script": script} for stage, (c, script) in found.items()])
            return
        for stage, plan in plans.items():
            output.show(f"=== stage {stage}\n{plan}\n")
        return
    jobs = run.submit(*_chosen(stages), on=on, again=again, depend_afterok=depend_afterok)
    if as_json:
        show_json([{"stage": stage, "key": job.key, "job_id": job.job_id} for stage, job in jobs.items()])
    else:
        show_table([(stage, job.key, f"id {job.job_id}") for stage, job in jobs.items()])


@click.command()
@_of_a_run
@json_option
def status(directory: str, name: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show the state of each stage of the run DIR. The exit status is 1 if one has failed."""
    run = _opened(directory, name)
    found, jobs = run.status(), run.jobs
    rows: list[dict[str, Any]] = [
        {
            "stage": stage,
            "state": each.state.value if each else None,
            "key": jobs[stage].key if each else None,
            "job_id": jobs[stage].job_id if each else None,
            "error": (error_of(each) or None) if each else None,
        }
        for stage, each in found.items()
    ]
    if as_json:
        show_json(rows)
    else:
        show_table([
            (row["stage"], row["state"] or "not submitted", row["key"] or "", row["error"] or "") for row in rows
        ])  # fmt: skip
    if any(each and failed(each) for each in found.values()):
        raise SystemExit(FAILED)
