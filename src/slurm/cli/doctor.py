"""`slurm doctor`: check a cluster, and advise on each problem."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from slurm.cli import output
from slurm.cli.cluster_argument import cluster_argument, cluster_of
from slurm.cli.output import Finite, json_option, show_json
from slurm.doctor import examine
from slurm.doctor.diagnosis import Level

if TYPE_CHECKING:
    from slurm.doctor.diagnosis import Finding

_MOST_SECONDS = 10**8
_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


@click.command()
@cluster_argument
@click.option("--run-job", is_flag=True, help="Run a job, too. Only a job shows whether the nodes can see the root.")
@click.option(
    "--timeout",
    default=120.0,
    show_default=True,
    type=Finite(min=0, min_open=True, max=_MOST_SECONDS),
    help="Time limit for that job, in seconds.",
)
@json_option
def doctor(cluster: str | None, run_job: bool, timeout: float, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Check whether jobs can run on CLUSTER, and advise on each problem.

    The exit status is 1 if there is an error, and 0 if there are warnings only.
    """
    place = cluster_of(cluster)
    findings = examine(place, run_job=run_job, timeout=timeout)
    if as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        output.show(f"{place.url}\n")
        for finding in findings:
            show_finding(finding)
    if any(finding.level is Level.ERROR for finding in findings):
        raise SystemExit(1)


def show_finding(finding: Finding, *, err: bool = False) -> None:
    """Print a finding, and the advice on it."""
    level = click.style(finding.level.value.ljust(7), fg=_COLOURS[finding.level])
    first, *more = finding.found.splitlines() or [""]
    output.show(f"{level}  {finding.check.ljust(10)}  {first}", err=err)
    for line in [*more, *([f"→ {finding.advice}"] if finding.advice else [])]:
        output.show(f"{'':21}{line}", err=err)
