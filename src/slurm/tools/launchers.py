"""Launchers: what comes before the program of a stage. They give the words of the environments of jobs.

The script of a stage uses them without a job: a job has its environment already when it starts the script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurm.environments.container import Container
from slurm.environments.modules import Conda, Modules
from slurm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.environments.base import Environment

WORKING_DIRECTORY = ('"$PWD"',)


class CondaRunner:
    """Activates a conda environment, by its name or its path: the words of the environment `Conda`."""

    def __init__(self, environment: str) -> None:
        self.environment = Conda(environment)

    def activation_commands(self) -> list[str]:
        """Lines of bash, for a shell in which `set -u` is off: the scripts of conda use unset variables."""
        return list(self.environment.steps)


class ContainerRunner:
    """Runs a program in an image: the words of the environment `Container`, whose arguments it takes."""

    def __init__(self, image: str, *, runtime: str = "apptainer", **arguments: Any) -> None:
        self.environment = Container(image, runtime=runtime, **arguments)

    def exec_prefix(self, directories: Sequence[str] = WORKING_DIRECTORY, env: Mapping[str, str] | None = None) -> str:
        """Words of bash before the program. `directories` are words of bash too; the container sees them as they are.

        Raises ConfigurationError for a runtime that starts containers in jobs only.
        """
        return self.environment.by_hand(directories, env or {})


def before(
    environments: Sequence[Environment], directories: Sequence[str], env: Mapping[str, str]
) -> tuple[list[str], str]:
    """Lines of bash that provide some environments without a job, and words before the program.

    Raises ConfigurationError for an environment that only a job can provide.
    """
    lines: list[str] = []
    for environment in environments:
        if isinstance(environment, Conda | Modules):
            lines += environment.steps
        elif isinstance(environment, Container):
            return lines, environment.by_hand(directories, env)
        elif type(environment).__name__ != "Current":
            raise ConfigurationError(f"{environment!r} is made for jobs only")
    return lines, ""
