"""`slurm doctor`: check a cluster, and advise on each problem."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from slurm.cli import output
from slurm.cli.cluster_argument import cluster_argument, cluster_of
from slurm.cli.output import Finite, json_option, show_json
from slurm.doctor import look
from slurm.doctor.diagnosis import Level

if TYPE_CHECKING:
    from slurm.doctor.diagnosis import Finding

_INDENT = 21
"""The number of columns before the text of a finding."""
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
    findings = []
    if not as_json:
        output.show_prose([str(place.url), ""])
    for finding in look(place, run_job=run_job, timeout=timeout):
        findings.append(finding)
        if not as_json:
            show_finding(finding)
    if as_json:
        show_json([asdict(finding) for finding in findings])
    if any(finding.level is Level.ERROR for finding in findings):
        raise SystemExit(1)


def show_finding(finding: Finding, *, err: bool = False) -> None:
    """Print a finding, and the advice on it."""
    first, *more = finding.found.splitlines() or [""]
    lines = [f"{finding.level.value.ljust(7)}  {finding.check.ljust(10)}  {first}"]
    lines += [f"{'':{_INDENT}}{line}" for line in [*more, *([f"→ {finding.advice}"] if finding.advice else [])]]
    output.show_prose(lines, indent=_INDENT, err=err, fg=_COLOURS[finding.level])
