"""Pyxis (experimental): NVIDIA's plugin for Slurm, which lets srun start a task in an enroot container.

Written from its documentation and never run: the test machines have neither pyxis nor enroot.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, ClassVar

from slurm.environments.runtimes.base import AS_STEP, REFERENCE, Runtime, path
from slurm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.environments.runtimes.base import Image, Run


class Pyxis(Runtime):
    """`srun --container-image`: enroot imports the image on the node. The GPUs of the job are visible in it."""

    name: ClassVar[str] = "pyxis"
    program: ClassVar[str] = "srun"
    takes: ClassVar[str] = REFERENCE
    is_step: ClassVar[bool] = True

    def run(self, image: Image, run: Run) -> Sequence[str]:
        """Replace the shell with srun, which keeps the variables of the job."""
        if not run.network:
            raise ConfigurationError("pyxis cannot disconnect a container from the network: remove network=False")
        if run.shell:
            raise ConfigurationError("pyxis cannot run a program in an image without Python: use another runtime")
        binds = [(run.root, run.root, ""), *((m.source, m.target, ":ro" if m.readonly else "") for m in run.mounts)]
        for source, target, _ in binds:
            if set(",:") & {*source, *target}:
                raise ConfigurationError(f"pyxis cannot mount a path with a comma or a colon: {source!r} at {target!r}")
        mounts = [f"{path(source)}:{path(target)}{mode}" for source, target, mode in binds]
        workdir = '"$PWD"' if run.workdir is None else path(run.workdir)
        mounts += ['"$PWD":"$PWD"'] if run.workdir is None else []
        own = "".join(f" {option}" for option in map(shlex.quote, run.options))
        return (
            *AS_STEP,
            f'exec "${{step[@]}}" --container-image={_enroot(image.name)} \\',
            f"    --container-mounts={','.join(mounts)} --container-workdir={workdir} \\",
            f'    --no-container-mount-home --no-container-entrypoint{own} "$@"',
        )


def _enroot(name: str) -> str:
    """Return a reference in enroot's form, with # after the registry. A path stays unchanged."""
    return path(name) if name.startswith(("/", "~/")) else shlex.quote(name.replace("/", "#", 1))
