"""Modules and Conda: existing installations that the shell of each job activates."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from slurm.environments.base import Environment, planned_by_prepare
from slurm.environments.current import find
from slurm.environments.setup import load_modules
from slurm.errors import ConfigurationError, PythonNotFound

if TYPE_CHECKING:
    from slurm.environments.base import BuildTarget
    from slurm.protocol import ResolvedEnvironment

_CONDA = (
    'command -v conda > /dev/null 2>&1 || for base in "${CONDA_EXE%/bin/conda}" "${MAMBA_ROOT_PREFIX:-}" '
    "~/miniforge3 ~/mambaforge ~/miniconda3 ~/anaconda3 /opt/conda; do "
    '[ ! -x "$base/bin/conda" ] || { PATH=$PATH:$base/bin; break; }; done; '
    'command -v conda > /dev/null 2>&1 || { echo "there is no conda command on $(uname -n)" >&2; false; }'
)
"""The shell of a job does not read the rc file that `conda init` edits. These are the default install locations."""


class Modules(Environment):
    """Environment modules (Lmod, Environment Modules), which the shell of each job loads in order.

    If no other environment follows, the Python is the one that the modules provide, or the cluster's.
    """

    def __init__(self, *names: str) -> None:
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ConfigurationError(f"Modules{names!r}: name the modules to load, such as Modules('cuda/12')")
        self.names = names

    @property
    def steps(self) -> tuple[str, ...]:
        """The lines of bash that load the modules."""
        return load_modules(self.names)

    def prepare(self, target: BuildTarget) -> ResolvedEnvironment:
        """Find the Python. Raises PythonNotFound."""
        return find(self.before(target))

    planned = planned_by_prepare

    def before(self, target: BuildTarget) -> BuildTarget:
        """Return the target with the steps that load the modules."""
        return with_steps(target, self.steps)

    def __repr__(self) -> str:
        return f"Modules({', '.join(map(repr, self.names))})"


class Conda(Environment):
    """An existing conda environment, by its name or its path (absolute, or `~/…`), which each job activates."""

    without_python: ClassVar = True

    def __init__(self, environment: str) -> None:
        if not environment or not isinstance(environment, str):
            raise ConfigurationError(f"Conda({environment!r}): give the name or the path of an existing environment")
        self.environment = environment

    @property
    def steps(self) -> tuple[str, ...]:
        """The lines of bash that find conda and activate the environment."""
        home, name = ("~/", self.environment[2:]) if self.environment.startswith("~/") else ("", self.environment)
        # The hook defines the function "conda activate". The scripts of conda use unset variables.
        return (_CONDA, f'set +u; eval "$(conda shell.posix hook)" && conda activate {home}{shlex.quote(name)}')

    def prepare(self, target: BuildTarget) -> ResolvedEnvironment:
        """Find the environment's Python. Raises PythonNotFound, also if conda or the environment is missing.

        For a program, the environment needs no Python: then the runner uses the Python of the target.
        """
        try:
            return find(self.before(target))
        except PythonNotFound:
            if not target.for_program:
                raise
            return find(self._activated(target))

    planned = planned_by_prepare

    def before(self, target: BuildTarget) -> BuildTarget:
        """Return the target with the steps that activate the environment."""
        target = self._activated(target)
        return replace(target, interpreter=target.interpreter._replace(python="python"))

    def _activated(self, target: BuildTarget) -> BuildTarget:
        target = with_steps(target, self.steps)
        return replace(target, interpreter=target.interpreter._replace(from_setup=True))

    def __repr__(self) -> str:
        return f"Conda({self.environment!r})"


def with_steps(target: BuildTarget, steps: tuple[str, ...]) -> BuildTarget:
    """Return the target with more steps before its Python."""
    return replace(target, interpreter=target.interpreter._replace(setup=(*target.interpreter.setup, *steps)))
