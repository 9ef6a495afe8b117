"""Setup steps: shell lines that run before the Python of a job. They load modules, or are the user's own lines."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Sequence


def load_modules(names: Sequence[str]) -> tuple[str, ...]:
    """Return the steps that load environment modules (Lmod, Environment Modules) in any bash."""
    return (
        (program(__name__, "module_command.sh").strip(), *(f"module load {shlex.quote(name)}" for name in names))
        if names
        else ()
    )


def render_steps(steps: Sequence[str]) -> list[str]:
    """Return lines of bash that run the steps in order, in the same shell, up to the first one that fails.

    `$step` then holds the failed step, or is empty. A step may have several lines. A syntax error counts as a failure.
    """
    if not steps:
        return ["step="]
    return [
        *(f'step={shlex.quote(step)} && eval "$step" &&' for step in steps),
        'step= || echo "setup: failed with status $? at: $step" >&2',
        "set +eu",
    ]
