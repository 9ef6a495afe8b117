"""Setup steps: shell lines that run before the Python of a job: modules, and the user's own lines."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# `module` is a function that the profile of a site defines, so only login shells have it for certain. /etc/profile is
# the last one, because it may replace PATH.
_FIND_MODULE = (
    'for init in "${LMOD_PKG:-}/init/bash" "${MODULESHOME:-}/init/bash" /etc/profile.d/*{lmod,modules}*.sh '
    "/usr/share/lmod/lmod/init/bash /usr/share/modules/init/bash /etc/profile; do "
    'type module > /dev/null 2>&1 && break; [ ! -r "$init" ] || . "$init"; done; '
    'type module > /dev/null 2>&1 || { echo "there is no module command on $(uname -n)" >&2; false; }'
)


def load_modules(names: Sequence[str]) -> tuple[str, ...]:
    """Return the steps that load environment modules (Lmod, Environment Modules) in any bash."""
    return (_FIND_MODULE, *(f"module load {shlex.quote(name)}" for name in names)) if names else ()


def render_steps(steps: Sequence[str]) -> list[str]:
    """Return lines of bash that run the steps in order, in the same shell, up to the first that fails.

    `$step` then holds the failed step, or is empty. A step may have several lines. A syntax error counts as a failure.
    """
    if not steps:
        return ["step="]
    return [
        *(f'step={shlex.quote(step)} && eval "$step" &&' for step in steps),
        'step= || echo "setup: failed with status $? at: $step" >&2',
        "set +eu",
    ]
