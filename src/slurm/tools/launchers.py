"""Launchers: the lines and words of bash that come before the program of a stage, as the environments give them.

The script of a stage uses them only if it runs without a job: a job provides the environment before it starts the
script.
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
    """Activates a conda environment, given by its name or its path, as the environment `Conda` does."""

    def __init__(self, environment: str) -> None:
        self.environment = Conda(environment)

    def activation_commands(self) -> list[str]:
        """Return lines of bash for a shell without `set -u`, because the scripts of conda use unset variables."""
        return list(self.environment.steps)


class ContainerRunner:
    """Runs a program in an image. It takes the arguments of the environment `Container`, and works in the same way."""

    def __init__(self, image: str, *, runtime: str = "apptainer", **arguments: Any) -> None:
        self.environment = Container(image, runtime=runtime, **arguments)

    def exec_prefix(self, directories: Sequence[str] = WORKING_DIRECTORY, env: Mapping[str, str] | None = None) -> str:
        """Return the words of bash before the program. `directories` are also words of bash: the container has these
        directories at the same paths.

        Raises ConfigurationError for a runtime that starts containers in jobs only.
        """
        return self.environment.by_hand(directories, env or {})


def before(
    environments: Sequence[Environment], directories: Sequence[str], env: Mapping[str, str]
) -> tuple[list[str], str]:
    """Return lines of bash that provide environments without a job, and the words before the program.

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
