"""Launcher variables: they tell the launcher of a container how to run a program in a separate environment.

The runner runs outside of this container. See `slurm.environments.runtimes.base`.
"""

from __future__ import annotations

import os

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LAUNCHER = "SLURMTASKS_LAUNCHER"
"""The variable of a job that names the launcher of its programs."""
NAMED = "SLURMTASKS_ENV"
"""The variable of a job with the names of the variables in the job's option `env`."""
SEPARATE = "SLURMTASKS_STDERR"
"""The variable of a job whose standard error has a separate log."""
HERE = "SLURMTASKS_HERE"
"""The working directory of the job, which the program sees, too."""
NAMES, VALUE, UNSET = "SLURMTASKS_NAMES", "SLURMTASKS_VALUE_", "SLURMTASKS_UNSET"
"""Three variables: the names of a command's variables, the prefix of the variables with their values, and the names of
variables that the program must not have. The prefix is needed because the launcher itself must not get a PATH that is
valid only in the container.
"""


def named() -> list[str]:
    """Return the names of the variables in the option `env` of this job."""
    return os.environ.get(NAMED, "").split()


def environment(own: Mapping[str, str | None]) -> dict[str, str]:
    """Return the environment of a launcher for a program with the variables `own`, and those of the option `env`.

    The value None removes a variable. Raises ValueError for an invalid name.
    """
    for name in own:
        if not name.isidentifier() or not name.isascii():
            raise ValueError(f"env: {name!r} is not a name of a variable that a program in a container can have")
    own = {**{name: os.environ.get(VALUE + name) for name in named()}, **own}
    given = {name: value for name, value in own.items() if value is not None}
    environ = {name: value for name, value in os.environ.items() if name != LAUNCHER}
    environ |= {VALUE + name: value for name, value in given.items()}
    environ |= {NAMES: " ".join(given), UNSET: " ".join(name for name in own if name not in given)}
    return {**environ, HERE: os.getcwd()}
