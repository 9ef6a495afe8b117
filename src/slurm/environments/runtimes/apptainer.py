"""Apptainer and SingularityCE. A container is a child process of the job, and runs as the same user."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, ClassVar

from slurm.environments.runtimes.base import SIF, Runtime, mounted, path, words
from slurm.runner.launcher_variables import NAMES, UNSET, VALUE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.environments.runtimes.base import Image, Run


class Apptainer(Runtime):
    """Apptainer: an image is a file, made once when the environment is built."""

    name: ClassVar[str] = "apptainer"
    program: ClassVar[str] = "apptainer"
    takes: ClassVar[str] = SIF
    prefix: ClassVar[str] = "APPTAINER"

    def ready(self, image: Image) -> Sequence[str]:
        """Check that the node sees the image, if it is a file."""
        if not image.name.startswith(("/", "~/")):
            return ()
        file = path(image.name)
        return (f'[ -e {file} ] || {{ echo "there is no "{file}" on $(uname -n)" >&2; exit 125; }}',)

    def run(self, image: Image, run: Run) -> Sequence[str]:
        """Replace the shell with the container. The home and the variables of the job stay outside it."""
        given = f'{words(_options(run))} "${{mounts[@]}}" --pwd "$workdir"'
        return (
            *mounted(run),
            # Options would split values at commas, and a shell in the container would evaluate them.
            # The variables of a command are for the program, and not for the runtime.
            f'for name in ${{{NAMES}-}}; do value={VALUE}$name; export "{self.prefix}ENV_$name=${{!value}}"; done',
            'for name in "${passed[@]}"; do',
            f'    case " ${{{NAMES}-}} ${{{UNSET}-}} " in *" $name "*) continue ;; esac',
            f'    [ -z "${{!name+set}}" ] || export "{self.prefix}ENV_$name=${{!name}}"',
            "done",
            f"export {self.prefix}_NO_EVAL=1",
            f'exec {self.program} --silent --nocolor exec{given} {path(image.name)} "$@"',
        )

    def by_hand(self, image: str, run: Run, directories: Sequence[str]) -> str:
        """Return a command with the same options. The runtime fetches a reference into its own cache."""
        mounts = [f"{path(m.source)}:{path(m.target)}{':ro' if m.readonly else ''}" for m in run.mounts]
        binds = "".join(f" --bind {each}" for each in (*directories, *mounts))
        env = "".join(f" {self.prefix}ENV_{name}={shlex.quote(value)}" for name, value in run.env if value is not None)
        source = path(image) if image.startswith(("/", "~/")) else shlex.quote(f"docker://{image}")
        start = f"env {self.prefix}_NO_EVAL=1{env} {self.program}"  # a shell in the container would evaluate values
        return f'{start} --silent exec{words(_options(run))}{binds} --pwd "$PWD" {source}'

    def make(self, source: str, image: str, *, plain: bool) -> Sequence[str]:
        """Return the command that makes an image file from `docker://…` or `docker-archive:…`."""
        return (self.program, "--nocolor", "build", *(["--no-https"] if plain else []), image, source)


def _options(run: Run) -> list[str]:
    network = [] if run.network else ["--net", "--network=none"]
    gpus = {"nvidia": ["--nv"], "amd": ["--rocm"]}.get(run.gpus, [])
    return ["--cleanenv", "--no-home", *network, *gpus, *run.options]


class Singularity(Apptainer):
    """SingularityCE, and Singularity, the common origin of SingularityCE and Apptainer."""

    name = program = "singularity"
    prefix = "SINGULARITY"
