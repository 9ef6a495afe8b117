"""`slurm sweep status`, `watch`, `recent`, `errors`, `why`, `table`, `logs`, `fetch`: look at sweeps.

These commands change no sweep.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.output import json_option, show_json, show_table
from slurm.cli.shell_advice import for_a_shell
from slurm.cli.sweep import name_argument, sweep_option
from slurm.errors import ConfigurationError
from slurm.sweeps.directory import names
from slurm.sweeps.failures import message
from slurm.sweeps.sweep import Sweep
from slurm.sweeps.table import COLUMNS
from slurm.sweeps.views import facts_of_point
from slurm.views.displays import clock, duration, memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slurm.sweeps.snapshot import Point
    from slurm.sweeps.sweep_point import SweepPoint
    from slurm.sweeps.table import Table
    from slurm.sweeps.views import Status

_POINTS = 8
"""The largest number of points that are named for a group."""


@click.command()
@click.argument("name", required=False)
@sweep_option
@json_option
def status(name: str | None, directory: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show the progress of the sweep NAME, or of all sweeps."""
    wanted = [name] if name else sorted(names(Path(directory)))
    found = {each: Sweep.open(each, directory=directory).status() for each in wanted}
    if as_json:
        show_json([state.to_json() | {"name": each} for each, state in found.items()])
    elif not found:
        output.show(f"there are no sweeps in {directory}", err=True)
    for each, state in found.items() if not as_json else ():
        output.show(f"{each}: {state}")


@click.command()
@name_argument
@click.option(
    "--every", default=5.0, show_default=True, type=click.FloatRange(min=1), help="Seconds between two updates."
)
@sweep_option
@json_option
def watch(name: str, every: float, directory: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show the progress of the sweep NAME until no point waits or runs. Ctrl-C ends the command; the points continue.

    The command only reads. `slurm sweep complete NAME` collects results, and moves points that wait.
    """
    opened, before = Sweep.open(name, directory=directory), ""
    try:
        while True:
            found = opened.status()
            text = f"{name}: {found}"
            if text != before:
                _redraw(found, text, before, name, as_json=as_json)
            before = text
            if found.ended:
                return
            time.sleep(every)
    except KeyboardInterrupt:
        raise SystemExit(output.INTERRUPTED) from None


def _redraw(found: Status, text: str, before: str, name: str, *, as_json: bool) -> None:
    if as_json:
        show_json(found.to_json() | {"name": name})
        return
    if before and sys.stdout.isatty():  # overwrite the previous lines
        click.echo(f"\x1b[{before.count(chr(10)) + 1}A\x1b[J", nl=False)
    output.show(text)


@click.command()
@name_argument
@click.option("--limit", default=10, show_default=True, type=click.IntRange(min=1), help="Maximum number of points.")
@sweep_option
@json_option
def recent(name: str, limit: int, directory: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show the points of the sweep NAME that have ended last, newest first."""
    points = Sweep.open(name, directory=directory).recent(limit)
    if as_json:
        show_json([facts_of_point(point) for point in points])
    elif points:
        show_table([("POINT", "STATE", "ENDED", "TOOK", "SOURCE", "PARAMETERS"), *map(_row, points)])
    else:
        output.show("no point has ended yet", err=True)


def _row(point: Point) -> tuple[str, ...]:
    ended = point.ended
    when = clock(ended.ended) if ended and ended.ended is not None else ""
    took = duration(ended.seconds) if ended and ended.seconds is not None else ""
    params = " ".join(f"{name}={value}" for name, value in point.params.items())
    error = f"\n{message(ended)}" if ended and not ended.succeeded else ""
    return str(point.number), str(point.state), when, took, point.source or "", f"{params}{error}"


@click.command()
@name_argument
@click.option("--pattern", metavar="TEXT", help="Only groups whose error contains this text.")
@sweep_option
@json_option
def errors(name: str, pattern: str | None, directory: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show groups of similar failures of the sweep NAME, with one traceback for each group."""
    found = Sweep.open(name, directory=directory).errors()
    found = [
        group._replace(suggestion=for_a_shell(group.suggestion, name))
        for group in found
        if pattern is None or pattern in group.pattern or pattern in group.example
    ]
    if as_json:
        show_json([{**group._asdict(), "points": list(group.points)} for group in found])
    elif not found:
        output.show("no point has failed", err=True)
    for group in found if not as_json else ():
        points = ", ".join(map(str, group.points[:_POINTS])) + (", …" if len(group.points) > _POINTS else "")
        where = f" in {group.where}" if group.where else ""
        output.show(f"{len(group.points)} × {group.pattern}{where}\n  points {points}")
        if group.suggestion:
            output.show(f"  {group.suggestion}")
        for line in (group.traceback or group.example).rstrip().splitlines():
            output.show(f"    {line}")


@click.command()
@name_argument
@click.argument("point", type=click.IntRange(min=0))
@sweep_option
@json_option
def why(name: str, point: int, directory: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Explain why the POINT of the sweep NAME has its state, and what to do."""
    text = for_a_shell(Sweep.open(name, directory=directory).why(point), name)
    show_json({"point": point, "lines": text.splitlines()}) if as_json else output.show(text)


@click.command()
@name_argument
@click.argument("point", type=click.IntRange(min=0))
@click.option("--stderr", is_flag=True, help="Print standard error, for a task with separate_stderr.")
@click.option("--rank", default=0, type=click.IntRange(min=0), help="The rank, for a task with several ranks.")
@sweep_option
@json_option
def logs(name: str, point: int, stderr: bool, rank: int, directory: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Print the output of the POINT of the sweep NAME: the collected copy, or else the log at its cluster."""
    text = _point(name, point, directory).logs(rank, stderr=stderr)
    show_json({"point": point, "log": text}) if as_json else output.show(text.removesuffix("\n"))


@click.command()
@name_argument
@click.argument("point", type=click.IntRange(min=0))
@click.argument("patterns", nargs=-1)
@click.option("--to", metavar="DIRECTORY", help="Where to copy them. Without it, the files are listed.")
@sweep_option
@json_option
def fetch(name: str, point: int, patterns: Sequence[str], to: str | None, directory: str, as_json: bool) -> None:  # noqa: FBT001
    """Copy the files of the POINT of the sweep NAME, or those that match PATTERNS such as 'plots/*', from what was
    collected or else from its cluster.
    """
    found = _point(name, point, directory)
    if to is None:
        if patterns:
            raise click.UsageError("say where to copy the files: --to DIRECTORY.")
        files = found.files()
        if as_json:
            show_json([{"name": file.name, "bytes": file.size} for file in files])
        else:
            show_table([("FILE", "BYTES"), *((file.name, str(file.size)) for file in files)])
        return
    paths = list(map(str, found.fetch(*patterns, to=to)))
    show_json(paths) if as_json else output.show("\n".join(paths) or "the point has left no files")


def _point(name: str, point: int, directory: str) -> SweepPoint:
    opened = Sweep.open(name, directory=directory)
    points = opened.snapshot().points
    if point >= len(points):
        raise ConfigurationError(f"there is no point {point}: the sweep has {len(points)}, from 0")
    return opened.point(points[point])


@click.command()
@name_argument
@click.option("--where", "condition", metavar="CONDITION", help="Only rows such as 'lr < 0.1 and state == \"done\"'.")
@click.option("--best", metavar="METRIC", help="Only the row with the smallest value of METRIC.")
@click.option("--largest", is_flag=True, help="With --best or --sort: the largest value first.")
@click.option("--sort", metavar="COLUMN", help="Sort the rows by COLUMN.")
@click.option(
    "--group", "by", multiple=True, metavar="COLUMN", help="One row for each value, with mean and spread. Repeatable."
)
@click.option("--limit", type=click.IntRange(min=1), help="Maximum number of rows.")
@click.option("--to", "path", metavar="FILE", help="Write a .csv or .parquet file instead.")
@sweep_option
@json_option
def table(  # noqa: PLR0913, PLR0917 - click's way
    name: str,
    condition: str | None,
    best: str | None,
    largest: bool,  # noqa: FBT001
    sort: str | None,
    by: Sequence[str],
    limit: int | None,
    path: str | None,
    directory: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Print the table of the sweep NAME: parameters, metrics, state, source, seconds, memory, attempts."""
    found = Sweep.open(name, directory=directory).table()
    try:
        found = found.where(condition) if condition else found
        found = found.group(*by) if by else found
        found = found.sort(sort or best or "", largest=largest) if sort or best else found
        if best:
            found.best(best)
            found = found[:1]
    except (KeyError, ValueError) as error:
        raise ConfigurationError(str(error.args[0])) from None
    found = found[:limit] if limit else found
    if path:
        _write(found, path)
    elif as_json:
        show_json([{name: row[name] for name in found.columns} for row in found])
    else:
        show_table([tuple(map(str.upper, found.columns)), *_cells(found)])


def _cells(found: Table) -> Iterator[tuple[str, ...]]:
    """The rows as text, each in the order of the columns; the peak memory has a unit."""
    others = found.columns[len(found.parameters) + len(found.metrics) :]
    peak = dict(zip(COLUMNS, others, strict=False)).get("memory")
    for row in found:
        yield tuple(
            memory(row[name]) if name == peak and row[name] is not None else cell(row[name]) for name in found.columns
        )


def _write(found: Any, path: str) -> None:
    writers = {".csv": found.to_csv, ".parquet": found.to_parquet}
    if Path(path).suffix not in writers:
        raise click.UsageError(f"--to {path}: write a name that ends in .csv or .parquet.")
    writers[Path(path).suffix](path)
    output.show(f"{len(found)} rows written to {path}", err=True)


def cell(value: Any) -> str:
    """A value of a table as text."""
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
