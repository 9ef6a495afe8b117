"""Launching: refuse options that do not fit the kind of a task: a function, a workflow, or a command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from slurm.errors import OptionError
from slurm.submission import requests

if TYPE_CHECKING:
    from slurm.options import Options
    from slurm.protocol import ResolvedEnvironment
    from slurm.tasks.task import Task


def check_ranks(task: Task[..., Any], options: Options, environment: ResolvedEnvironment, *, mapped: bool) -> None:
    """Raise OptionError for a call in several ranks that needs one process, or the other way round."""
    requests.check_launch(task.name, options)
    if options.get("launch") == "mpi" and not is_command(task):
        raise OptionError(
            f"{task.name} is a function, and launch='mpi' starts programs: use slurm.command, or launch='ranks', which "
            "runs the function in each task"
        )
    if requests.several_ranks(options) and (task.is_workflow or (mapped and requests.chunk_size(options) > 1)):
        what = "a workflow is" if task.is_workflow else "chunk_size and workers are of tasks of"
        raise OptionError(f"{what} one process, and {task.name} asks for several (ntasks)")
    if options.get("launch") == "mpi" and environment.program and environment.runtime not in _MPI_RUNTIMES:
        raise OptionError(
            f"{task.name}: launch='mpi' cannot start the processes of a world in containers of {environment.runtime}: "
            "use apptainer or singularity, whose containers are processes of the job"
        )
    if environment.single and requests.several_ranks(options):
        raise OptionError(f"{task.name} asks for several ranks (ntasks), and {environment.single}")


_MPI_RUNTIMES = ("apptainer", "singularity")
"""Containers in which a process of an MPI world keeps the descriptors of its launcher."""


def is_command(task: Task[..., Any]) -> bool:
    """Whether a task runs a program. Imports nothing."""
    commands = sys.modules.get("slurm.tasks.command")
    return commands is not None and isinstance(task, commands.CommandTask)
