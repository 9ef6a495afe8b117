"""`slurm sweep`: write, check, run, complete, extend and cancel parameter sweeps."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slurm.cli import output
from slurm.cli.cluster_argument import cluster_of
from slurm.cli.lazy_group import LazyGroup
from slurm.cli.output import json_option, show_json
from slurm.cli.sweep_driving import drive, tell_stored
from slurm.cli.sweep_unit import read_file, unit_of
from slurm.sweeps.config import SweepConfig
from slurm.sweeps.directory import OUTPUTS, names
from slurm.sweeps.points import points_of
from slurm.sweeps.sweep import MOST_POINTS, Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.clusters.cluster import Cluster
    from slurm.sweeps.planning import SweepPlan

_VIEWS = "slurm.cli.sweep_views"
COMMANDS = {
    "init": ("slurm.cli.sweep_init:init", "Write a first sweep.yaml, with comments."),
    "import": ("slurm.cli.sweep_import:import_", "Make a sweep and a Slurmfile from files of HPC Sweep Manager."),
    "validate": ("slurm.cli.sweep:validate", "Check a file, and show all problems at once."),
    "run": ("slurm.cli.sweep:run", "Run the points of a file that are missing."),
    "complete": ("slurm.cli.sweep:complete", "Run the missing points of a sweep, at any clusters."),
    "extend": ("slurm.cli.sweep:extend", "Add the points of a file to a sweep."),
    "status": (f"{_VIEWS}:status", "Show the progress of sweeps."),
    "watch": (f"{_VIEWS}:watch", "Show the progress of a sweep until it ends."),
    "recent": (f"{_VIEWS}:recent", "Show the points that have ended last."),
    "errors": (f"{_VIEWS}:errors", "Show the failures, in groups of the same kind."),
    "why": (f"{_VIEWS}:why", "Explain the state of a point."),
    "table": (f"{_VIEWS}:table", "Print parameters, metrics and states, or write them to a file."),
    "logs": (f"{_VIEWS}:logs", "Print the output of a point."),
    "fetch": (f"{_VIEWS}:fetch", "Copy files of a point to this machine."),
    "report": ("slurm.cli.sweep_reports:report", "Write pages with plots: completion, performance, errors."),
    "export": ("slurm.cli.sweep_reports:export", "Write a tree of plain files."),
    "compare": ("slurm.cli.sweep_reports:compare", "Show what differs between two sweeps."),
    "collect": ("slurm.cli.sweep:collect", "Copy the results of ended points to this machine."),
    "cancel": ("slurm.cli.sweep:cancel", "Cancel the points that wait or run."),
    "cleanup": ("slurm.cli.sweep:cleanup", "Remove job directories that were collected."),
}

sweep_option = click.option(
    "--directory",
    default=str(OUTPUTS),
    show_default=True,
    metavar="DIRECTORY",
    help="The directory that holds the sweeps.",
)


trials_option = click.option(
    "--trials", type=click.IntRange(min=1), metavar="N", help="The total number of points of an adaptive search."
)


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of the sweeps in the directory of sweeps."""
    del param
    return [name for name in names(Path(ctx.params.get("directory") or OUTPUTS)) if name.startswith(incomplete)]


name_argument = click.argument("name", shell_complete=complete_names)


def _running(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a command that submits points."""
    for option in reversed(
        (
            click.option("--on", multiple=True, metavar="CLUSTER[:SLOTS]", help="Where to compute. Repeatable."),
            click.option("--chunk", metavar="N|auto", help="The points that one job computes, one after the other."),
            click.option("--seconds", type=float, metavar="S", help="How long a point takes; sets --chunk."),
            click.option(
                "--strategy",
                default="slots",
                show_default=True,
                type=click.Choice(["slots", "round_robin", "least_loaded", "random", "priority"]),
                metavar="NAME",
                help="How points are divided: slots, round_robin, least_loaded, random or priority.",
            ),
            click.option(
                "--stop-after", type=click.IntRange(min=1), metavar="N", help="Stop after N similar failures."
            ),
            click.option(
                "--detach",
                "-d",
                is_flag=True,
                help="Only queue the points. Do not wait, collect results, or move points.",
            ),
        )
    ):
        command = option(command)
    return command


@click.group(cls=LazyGroup, table=COMMANDS)
def sweep() -> None:
    """Run a function or a command at many points of a parameter space, at several clusters at once.

    A sweep can be left at any time, and completed later, or at other clusters.
    """


@click.command()
@click.argument("file", default="sweep.yaml")
@json_option
def validate(file: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Check FILE: its form, its points, and whether the function takes the parameters. Submits and writes nothing."""
    config = read_file(file)
    found = points_of(config.space, most=MOST_POINTS)
    if config.task or config.command:
        _sweep_of(config, found.values())
    if config.search:
        names_here = list(config.search.ranges)
        trials = config.search.options.get("trials")
        if as_json:
            show_json({"points": trials, "parameters": names_here, "notes": list(config.notes)})
        else:
            output.show(f"{file} is valid: a search of {trials or 'any number of'} points of {', '.join(names_here)}")
    elif as_json:
        show_json({"points": len(found), "parameters": list(config.space.names), "notes": list(config.notes)})
    else:
        output.show(f"{file} is valid: {len(found)} points of {', '.join(config.space.names)}")


@click.command()
@click.argument("file", default="sweep.yaml")
@click.option(
    "--name", metavar="NAME", help="The name of the sweep. Default: the name in the file, else the name of the file."
)
@_running
@click.option("--dry-run", is_flag=True, help="Show what would be submitted. Write and submit nothing.")
@click.option("--script", is_flag=True, help="With --dry-run: also show the scripts.")
@click.option("--count-only", is_flag=True, help="Print the number of points.")
@click.option(
    "--max-points", default=MOST_POINTS, show_default=True, metavar="N", help="Reject a sweep with more points."
)
@trials_option
@sweep_option
@json_option
def run(  # noqa: PLR0913, PLR0917 - click's way
    file: str,
    name: str | None,
    on: Sequence[str],
    chunk: str | None,
    seconds: float | None,
    strategy: str,
    stop_after: int | None,
    detach: bool,  # noqa: FBT001
    dry_run: bool,  # noqa: FBT001
    script: bool,  # noqa: FBT001
    count_only: bool,  # noqa: FBT001
    max_points: int,
    trials: int | None,
    directory: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Run the points of FILE that are missing, and collect their results until all have ended.

    If you run the command again, it computes only the missing points. Ctrl-C ends the command; queued points continue.
    """
    size = _chunk(chunk, detach=detach)
    if script and not dry_run:
        raise click.UsageError("--script goes with --dry-run.")
    config = read_file(file)
    points = points_of(config.space, most=max_points)
    if count_only:
        count = trials or config.search.options.get("trials") if config.search else len(points)
        show_json({"points": count}) if as_json else output.show("any number" if count is None else str(count))
        return
    made = _sweep_of(
        config,
        points.values(),
        name=name or config.name or _stem(file),
        directory=directory,
        max_points=max_points,
        config=config.dumps(),
    )
    sources = _sources(on)
    if dry_run:
        plan = made.plan(sources, strategy=strategy, chunk=None if size == "auto" else size)
        _show_plan(plan, script=script, as_json=as_json)
        return
    if made.search and not (trials or made.search.settings.trials):
        raise click.UsageError("--trials N: say how many points the search asks for in all, here or in the file.")
    made.run(sources, strategy=strategy, chunk=size, seconds=seconds, trials=trials)
    drive(made, stop_after, detach=detach, as_json=as_json, file=file)


@click.command()
@name_argument
@_running
@click.option("--failed", is_flag=True, help="Also run points that have failed.")
@click.option("--take-over", is_flag=True, help="Also run points that were sent to a cluster that does not answer.")
@click.option("--redo", type=click.Choice(["changed"]), help="Compute points again that other code has computed.")
@trials_option
@click.option("--file", metavar="FILE", help="The file of the sweep, to run its function as it is now.")
@sweep_option
@json_option
def complete(  # noqa: PLR0913, PLR0917 - click's way
    name: str,
    on: Sequence[str],
    chunk: str | None,
    seconds: float | None,
    strategy: str,
    stop_after: int | None,
    detach: bool,  # noqa: FBT001
    failed: bool,  # noqa: FBT001
    take_over: bool,  # noqa: FBT001
    redo: Any,
    file: str | None,
    trials: int | None,
    directory: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Run the missing points of the sweep NAME, at any clusters. Points that wait or run are not changed.

    The points run the function or command as the last run has stored it. After a change of the code, add --file.
    """
    opened = Sweep.open(name, unit_of(read_file(file)) if file else None, directory=directory)
    if not file:
        tell_stored(opened)
    opened.complete(
        _sources(on),
        failed=failed,
        take_over=take_over,
        redo=redo,
        strategy=strategy,
        chunk=_chunk(chunk, detach=detach),
        seconds=seconds,
        trials=trials,
    )
    drive(opened, stop_after, detach=detach, as_json=as_json, file=file)


@click.command()
@name_argument
@click.argument("file", default="sweep.yaml")
@sweep_option
@json_option
def extend(name: str, file: str, directory: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Add the points of FILE that the sweep NAME does not have. `slurm sweep complete` runs them."""
    opened = Sweep.open(name, directory=directory)
    before = len(opened.directory.points())
    opened.extend(SweepConfig.load(file).space)
    added = len(opened.directory.points()) - before
    if as_json:
        show_json({"name": name, "added": added, "points": before + added})
    else:
        output.show(
            f"{added} points added; {name} has {before + added}. Run them: slurm sweep complete {shlex.quote(name)}"
        )


@click.command()
@name_argument
@sweep_option
@json_option
def collect(name: str, directory: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Copy outcomes, results, small logs and small files of ended points of the sweep NAME to this machine."""
    count = Sweep.open(name, directory=directory).collect()
    show_json({"name": name, "collected": count}) if as_json else output.show(f"{count} outcomes collected")


@click.command()
@name_argument
@sweep_option
@json_option
def cancel(name: str, directory: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Cancel the points of the sweep NAME that wait or run, at all clusters."""
    count = Sweep.open(name, directory=directory).cancel()
    show_json({"name": name, "cancelled": count}) if as_json else output.show(f"{count} points cancelled")


@click.command()
@name_argument
@click.option("--execute", is_flag=True, help="Remove them. Without it, they are only listed.")
@sweep_option
@json_option
def cleanup(name: str, execute: bool, directory: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Remove the job directories of the sweep NAME whose results were collected from its clusters."""
    found = Sweep.open(name, directory=directory).cleanup(execute=execute)
    if as_json:
        show_json({"name": name, "removed" if execute else "removable": found})
        return
    output.show("\n".join(found) or "there is nothing to remove")
    if found and not execute:
        output.show("nothing was removed: --execute removes them", err=True)


def _sweep_of(file: SweepConfig, points: Iterable[Mapping[str, Any]], **more: Any) -> Sweep:
    """The sweep of a file: of its points, or of its search."""
    if file.search:
        return Sweep(unit_of(file), file.search.ranges, **file.search.options, **more)
    return Sweep(unit_of(file), points, **more)


def _show_plan(plan: SweepPlan, *, script: bool, as_json: bool) -> None:
    """Show what a run would submit; the scripts on request only, because they are long."""
    if as_json:
        facts = [each._asdict() | {"script": each.plan.script if each.plan else None} for each in plan.sources]
        show_json(
            {"points": plan.points, "sources": [{n: v for n, v in each.items() if n != "plan"} for each in facts]}
        )
        return
    output.show(str(plan) if script else plan.summary)
    if not script:
        output.show("nothing was submitted; --script also shows the scripts", err=True)


def _stem(file: str) -> str:
    return os.path.basename(file).partition(".")[0]


def _sources(on: Sequence[str]) -> Sequence[str | Cluster]:
    return list(on) or [cluster_of(None)]


def _chunk(text: str | None, *, detach: bool = False) -> Any:
    if text == "auto" and detach:
        raise click.UsageError(
            "--chunk auto waits for the first points: leave out --detach, or say --chunk or --seconds."
        )
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise click.UsageError(f"--chunk {text}: write a number of points, or auto.")
    return int(text)
