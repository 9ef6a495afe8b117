"""Drive a sweep from the command line: show its progress, how it ended, and what to do about points that failed."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slurm.cli import output
from slurm.cli.output import show_json
from slurm.cli.shell_advice import for_a_shell
from slurm.sweeps.code import Code
from slurm.sweeps.config import SweepConfig, SweepConfigError
from slurm.sweeps.directory import CONFIG, OUTPUTS, SHARDS
from slurm.sweeps.health import NoSourceLeft, SweepStopped
from slurm.sweeps.snapshot import State

if TYPE_CHECKING:
    from slurm.sweeps.sweep import Sweep


def drive(made: Sweep, stop_after: int | None, *, detach: bool, as_json: bool, file: str | None = None) -> None:
    """Drive a sweep until it ends, and print how it ended. `file` is the file of the sweep, if known.

    Raises SystemExit if a point is not done.
    """
    stopped = False
    if not detach:
        try:
            _follow(made, stop_after)
        except KeyboardInterrupt:
            output.show(f"interrupted; what is queued goes on: {_command(made, 'complete')}", err=True)
            raise SystemExit(output.INTERRUPTED) from None
        except (NoSourceLeft, SweepStopped) as error:
            stopped = True
            output.show(f"needs you: {for_a_shell(str(error), made.name)}", err=True)
    found = made.status()
    show_json(found.to_json() | {"name": made.name}) if as_json else output.show(f"{made.name}: {found}")
    if detach or found.counts.get(State.DONE, 0) >= found.total:
        return
    if found.counts.get(State.FAILED):
        again = _command(made, "complete", "--failed")
        known = shlex.quote(file) if file else _file_of(made)
        output.show(f"show the failures: {_command(made, 'errors')}", err=True)
        output.show(f"run them again: {again}, with --file {known} if you have changed the code", err=True)
    elif not stopped:
        output.show(f"run the other points: {_command(made, 'complete')}", err=True)
    raise SystemExit(1)


def tell_stored(made: Sweep) -> None:
    """Print that the stored code runs, and how to run the code as it is now.

    The source file of a function is compared by its time only: an import of the file would run it.
    """
    shards = made.directory.shards()
    if not shards:
        return  # the sweep was never run, which is an error later
    newest = shards[max(shards)].code
    first = min(number for number, shard in shards.items() if shard.code == newest)
    code = Code.read(made.directory.path, newest)
    kind = "command" if code.command else "function"
    config = _config(made)
    source = (config.task or "").rpartition(":")[0] if config else ""
    changed = ""
    if source.endswith(".py") and _time(Path(source)) > _time(made.directory.path / SHARDS / f"{first}.json"):
        changed = f", and {source} was changed after that"
    output.show(
        f"note: the points run the {kind} {code.task} as it was stored{changed}. To run it as it is now: "
        f"--file {_file_of(made)}",
        err=True,
    )


def _follow(made: Sweep, stop_after: int | None) -> None:
    """Drive a sweep until it ends. On a terminal, show how many points have ended."""
    total, found = len(made), Counter[State]()
    shown = sys.stderr.isatty()
    try:
        for point in made.as_completed(stop_after=stop_after):
            found[point.state] += 1
            if shown:
                counts = ", ".join(f"{found[state]} {state}" for state in State if found[state])
                click.echo(f"\r{made.name}: {counts} of {total} points\x1b[K", nl=False, err=True)
    finally:
        if shown and found:
            click.echo(err=True)


def _command(made: Sweep, verb: str, *options: str) -> str:
    """The command line of a command on the sweep."""
    parent = made.directory.path.parent
    where = () if parent == OUTPUTS else ("--directory", str(parent))
    return shlex.join(["slurm", "sweep", verb, made.name, *options, *where])


def _config(made: Sweep) -> SweepConfig | None:
    """The stored file of the sweep; None for a sweep that a Python program has made."""
    try:
        return SweepConfig.loads((made.directory.path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SweepConfigError):
        return None


def _file_of(made: Sweep) -> str:
    """The file in the working directory that the sweep was probably made from; FILE if there is none."""
    try:
        stored = (made.directory.path / CONFIG).read_bytes()
    except OSError:
        return "FILE"
    for path in (Path(f"{made.name}.yaml"), Path(f"{made.name}.yml"), Path("sweep.yaml")):
        if path.is_file() and (path.stem == made.name or path.read_bytes() == stored):
            return shlex.quote(str(path))
    return "FILE"


def _time(path: Path) -> float:
    """When the file was written; 0 if there is no such file."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
