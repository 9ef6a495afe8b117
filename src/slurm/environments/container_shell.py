"""A shell for containers whose image has none: the cluster's shell, with its libraries, is stored beside the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.errors import EnvironmentNotReady
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from slurm.environments.building import Building

SHELL = "shell"
"""The directory of the shell, in the directory of the environment."""


def copy_shell(building: Building) -> None:
    """Copy the shell into the directory of a build. Raises EnvironmentNotReady if the copy does not run."""
    script = program(__name__, "copy_shell.sh")
    done = building.target.transport.run(["sh", "-c", script, "sh", f"{building.directory}/{SHELL}"], timeout=60)
    if done.status != 0:
        raise EnvironmentNotReady(f"cannot copy the shell of the cluster, which starts programs: {done.words}")
