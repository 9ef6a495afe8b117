"""The file of a sweep, and the task or command that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from slurm.cli import output
from slurm.cli.target import load
from slurm.errors import SlurmError
from slurm.sweeps.code import unknown_parameters
from slurm.sweeps.config import SweepConfig, SweepConfigError
from slurm.sweeps.hsm.project import config_of, read_project
from slurm.tasks.command import command
from slurm.tasks.decorators import task
from slurm.tasks.task import Task


def read_file(path: str) -> SweepConfig:
    """Read the file of a sweep, and show its notes about values that may be meant in another way.

    A file that names nothing to run, such as a file of HPC Sweep Manager, runs the script of the hsm_config.yaml of its
    project. Raises SweepConfigError for the file of the sweep, with the parameters that its function does not take; and
    ConfigurationError for hsm_config.yaml.
    """
    try:
        config = SweepConfig.load(path)
    except SweepConfigError as error:
        raise SweepConfigError([*error.problems, *_unknown_parameters(error)]) from None
    found = None if config.command or config.task else config_of(Path(path))
    if found:
        project, notes = read_project(found), config.notes
        if project.command is not None:
            config = SweepConfig(project.completed(config), where=path)
            options = "".join(f", {name}: {value}" for name, value in config.options.items())
            note = (
                f"{path}: its script is that of {found}, so it has command: {config.command}{options}. Clusters and a "
                "conda environment in that file are not used: slurm sweep import makes a Slurmfile of them"
            )
            config.notes = (*notes, note)
        else:
            config.notes = (*notes, f"{found} names no script for {path}: it has no paths.training_script")
    for note in config.notes:
        output.show(f"note: {note}", err=True)
    return config


def unit_of(config: SweepConfig) -> Task[..., Any]:
    """Import the function, or make the command, with the options of the file. Raises UsageError if there is neither."""
    if config.command is not None:
        given = {name: config.values[name] for name in ("files", "products", "shell") if name in config.values}
        made: Task[..., Any] = command(config.command, **given, **config.options)
        return made
    if config.task is None:
        raise click.UsageError(
            "the file names nothing to run: write a line task: FILE.py:FUNCTION or command: … into it, or paths: "
            "{training_script: …} into an hsm_config.yaml beside it."
        )
    found = load(config.task)
    unit: Task[..., Any] = found if isinstance(found, Task) else task(found)
    return unit.with_options(**config.options) if config.options else unit


def _unknown_parameters(error: SweepConfigError) -> list[str]:
    """The parameters of an invalid file that its function or command does not take, as lines of text."""
    named, template = error.values.get("task"), error.values.get("command")
    try:
        if isinstance(named, str):
            found = load(named)
            unit: Task[..., Any] = found if isinstance(found, Task) else task(found)
        elif isinstance(template, str):
            unit = command(template)
        else:
            return []
    except click.ClickException as wrong:
        return [wrong.message]
    except (SlurmError, TypeError, ValueError):  # the file without its other problems shows it
        return []
    told = unknown_parameters(unit, error.names)
    found = {place: told.get(name) or told.get(name.partition(".")[0]) for name, place in error.names.items()}
    return [f"{place}: {message}" for place, message in found.items() if message]
