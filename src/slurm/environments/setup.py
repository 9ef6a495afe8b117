"""Steps that make a shell ready before a Python starts: modules, and lines of the user's own."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Sequence


def load_modules(names: Sequence[str]) -> tuple[str, ...]:
    """The steps that load environment modules (Lmod, Environment Modules), in any shell of bash."""
    return (
        (program(__name__, "module_command.sh").strip(), *(f"module load {shlex.quote(name)}" for name in names))
        if names
        else ()
    )


def take(steps: Sequence[str]) -> list[str]:
    """Lines of bash that take the steps in turn, in their own shell, up to the first that fails.

    `$step` is that one then, and empty if all went well. A step is one line or several; one that bash can't even parse
    fails like any other.
    """
    if not steps:
        return ["step="]
    return [
        *(f'step={shlex.quote(step)} && eval "$step" &&' for step in steps),
        'step= || echo "setup: failed with status $? at: $step" >&2',
        "set +eu",
    ]
