"""The task or command that a file of a sweep names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from slurm.cli.target import load
from slurm.tasks.command import command
from slurm.tasks.decorators import task
from slurm.tasks.task import Task

if TYPE_CHECKING:
    from slurm.sweeps.config import SweepConfig


def unit_of(config: SweepConfig) -> Task[..., Any]:
    """Import the function, or make the command, with the options of the file. Raises UsageError if it has neither."""
    if config.command is not None:
        given = {name: config.values[name] for name in ("files", "products", "shell") if name in config.values}
        made: Task[..., Any] = command(config.command, **given, **config.options)
        return made
    if config.task is None:
        raise click.UsageError("the file names nothing to run: write task: FILE.py:FUNCTION, or command: …")
    found = load(config.task)
    unit: Task[..., Any] = found if isinstance(found, Task) else task(found)
    return unit.with_options(**config.options) if config.options else unit
