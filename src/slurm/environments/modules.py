"""Modules and Conda: what a site or a user has installed, made ready by the shell of each job."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from slurm.environments.base import Environment
from slurm.environments.current import find
from slurm.environments.setup import load_modules
from slurm.errors import ConfigurationError

if TYPE_CHECKING:
    from slurm.environments.base import Place
    from slurm.protocol import ResolvedEnvironment

_CONDA = (
    'command -v conda > /dev/null 2>&1 || for base in "${CONDA_EXE%/bin/conda}" "${MAMBA_ROOT_PREFIX:-}" '
    "~/miniforge3 ~/mambaforge ~/miniconda3 ~/anaconda3 /opt/conda; do "
    '[ ! -x "$base/bin/conda" ] || { PATH=$PATH:$base/bin; break; }; done; '
    'command -v conda > /dev/null 2>&1 || { echo "there is no conda command on $(uname -n)" >&2; false; }'
)
"""A job's shell hasn't read the rc file that `conda init` has written to; these are where installers put it."""


class Modules(Environment):
    """Environment modules (Lmod, Environment Modules), loaded in order by the shell of each job.

    With nothing after it, the Python is the one that they bring, or the cluster's.
    """

    def __init__(self, *names: str) -> None:
        if not names or not all(isinstance(name, str) and name for name in names):
            message = f"Modules{names!r}: name the modules to load, such as Modules('cuda/12')"
            raise ConfigurationError(message)
        self.names = names

    def prepare(self, place: Place) -> ResolvedEnvironment:
        """Find the Python. Raises PythonNotFound."""
        return find(self.before(place))

    def before(self, place: Place) -> Place:
        """The place with the modules loaded."""
        return with_steps(place, load_modules(self.names))

    def __repr__(self) -> str:
        return f"Modules({', '.join(map(repr, self.names))})"


class Conda(Environment):
    """A conda environment that is there, by its name or its path (absolute, or from `~/`), activated in each job."""

    def __init__(self, environment: str) -> None:
        if not environment or not isinstance(environment, str):
            message = f"Conda({environment!r}): name an environment that is there, or its path"
            raise ConfigurationError(message)
        self.environment = environment

    def prepare(self, place: Place) -> ResolvedEnvironment:
        """Find its Python. Raises PythonNotFound, where conda or the environment is missing, too."""
        return find(self.before(place))

    def before(self, place: Place) -> Place:
        """The place with the environment activated."""
        home, name = ("~/", self.environment[2:]) if self.environment.startswith("~/") else ("", self.environment)
        # "conda activate" is a function that only this defines; conda's own scripts use variables that may be unset.
        activate = f'set +u; eval "$(conda shell.posix hook)" && conda activate {home}{shlex.quote(name)}'
        place = with_steps(place, (_CONDA, activate))
        return replace(place, interpreter=place.interpreter._replace(python="python", from_setup=True))

    def __repr__(self) -> str:
        return f"Conda({self.environment!r})"


def with_steps(place: Place, steps: tuple[str, ...]) -> Place:
    """The place with more steps before its Python."""
    return replace(place, interpreter=place.interpreter._replace(setup=(*place.interpreter.setup, *steps)))
