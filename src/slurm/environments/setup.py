"""Steps that make a shell ready before a Python starts: modules, and lines of the user's own."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Only login shells are sure to have `module`: it is a function, which a site's profile defines. /etc/profile comes
# last, for it may set PATH anew.
_FIND_MODULE = (
    'for init in "${LMOD_PKG:-}/init/bash" "${MODULESHOME:-}/init/bash" /etc/profile.d/*{lmod,modules}*.sh '
    "/usr/share/lmod/lmod/init/bash /usr/share/modules/init/bash /etc/profile; do "
    'type module > /dev/null 2>&1 && break; [ ! -r "$init" ] || . "$init"; done; '
    'type module > /dev/null 2>&1 || { echo "there is no module command on $(uname -n)" >&2; false; }'
)


def load_modules(names: Sequence[str]) -> tuple[str, ...]:
    """The steps that load environment modules (Lmod, Environment Modules), in any shell of bash."""
    return (_FIND_MODULE, *(f"module load {shlex.quote(name)}" for name in names)) if names else ()


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
