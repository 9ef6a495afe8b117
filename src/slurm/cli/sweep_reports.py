"""`slurm sweep report`, `export`, `compare`: show the results of a sweep as pages, plain files and differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.output import json_option, show_json, show_table
from slurm.cli.sweep import name_argument, sweep_option
from slurm.cli.sweep_views import cell
from slurm.errors import ConfigurationError
from slurm.sweeps.reports.compare import compared
from slurm.sweeps.reports.numbers import completion_of, failures_of, parameter_levels, performance_of
from slurm.sweeps.sweep import Sweep
from slurm.usage import near

if TYPE_CHECKING:
    from slurm.sweeps.reports.compare import Comparison
    from slurm.sweeps.table import Table


@click.command()
@name_argument
@click.option("--to", "path", metavar="DIRECTORY", help="The directory of the files.  [default: reports/ of the sweep]")
@sweep_option
@json_option
def report(name: str, path: str | None, directory: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Write the reports of the sweep NAME: completion, performance and errors, each as one HTML file with plots.

    With --json, print the numbers of the reports, and write nothing.
    """
    made = Sweep.open(name, directory=directory)
    if as_json:
        snapshot = made.snapshot()
        levels = parameter_levels(snapshot)
        completion = completion_of(snapshot, levels, made.search.settings if made.search else None)
        performance = performance_of(snapshot, levels)
        facts: dict[str, Any] = {"completion": completion.to_json(), "performance": performance.to_json()}
        show_json({"name": name, **facts, "errors": [group.to_json() for group in failures_of(snapshot)]})
        return
    for written in made.report(path):
        output.show(str(written))


@click.command()
@name_argument
@click.option("--to", "path", metavar="DIRECTORY", help="The directory of the tree.  [default: the sweep's directory]")
@click.option(
    "--all", "everything", is_flag=True, help="Write a directory for each point, even for more than 5000 points."
)
@sweep_option
@json_option
def export(name: str, path: str | None, everything: bool, directory: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Write the sweep NAME as a tree of plain files: parameters, states, metrics, logs and results of each point."""
    made = Sweep.open(name, directory=directory)
    problems = made.export(path, all=everything)
    where = path or str(made.directory.path)
    if as_json:
        show_json({"name": name, "directory": where, "problems": problems})
    else:
        output.show(where)
    for problem in problems:
        output.show(f"left out: {problem}", err=True)
    if problems:
        raise SystemExit(1)


@click.command()
@click.argument("left")
@click.argument("right")
@click.option("--metric", metavar="NAME", help="Only this metric, the largest change first.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="Maximum number of rows.")
@sweep_option
@json_option
def compare(left: str, right: str, metric: str | None, limit: int, directory: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Compare the points that the sweeps LEFT and RIGHT have in common: each metric as right minus left."""
    pair = [Sweep.open(name, directory=directory).snapshot().points for name in (left, right)]
    found = compared(*pair)
    if metric is not None and metric not in _metrics(found.table):
        raise ConfigurationError(f"there is no metric {metric!r}{near(metric, _metrics(found.table))}")
    if as_json:
        show_json({"left": left, "right": right, **found.to_json()})
        return
    _show(found, metric, limit, left, right)


def _show(found: Comparison, metric: str | None, limit: int, left: str, right: str) -> None:
    table, metrics = found.table, _metrics(found.table) if metric is None else [metric]
    metrics = [name for name in metrics if any(value is not None for value in table.column(name))]
    if metric is not None:
        numbered = [row for row in table if row[metric] is not None]
        rows = sorted(numbered, key=lambda row: -abs(row[metric]))[:limit]
        columns = [*table.parameters, metric, f"{metric}_left", f"{metric}_right"]
    else:
        rows, columns = list(table)[:limit], [*table.parameters, *metrics]
    if rows:
        show_table([tuple(map(str.upper, columns)), *(tuple(cell(row[name]) for name in columns) for row in rows)])
    if (more := len(table) - len(rows)) > 0:
        output.show(f"… {more} more rows: --limit", err=True)
    only = [(left, found.only_left), (right, found.only_right)]
    words = [f"{len(table)} points in both", *(f"{len(some)} only in {name}" for name, some in only if some)]
    output.show(", ".join(words))


def _metrics(table: Table) -> list[str]:
    """The names of the metrics that are compared, without the names of the two sweeps."""
    return list(table.metrics[::3])
