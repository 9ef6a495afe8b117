"""Apptainer and SingularityCE: a container is a child of the job, and runs as who runs the job."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from slurm.environments.runtimes.base import SIF, Runtime, mounted, path, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.environments.runtimes.base import Image, Run


class Apptainer(Runtime):
    """Apptainer: an image is a file, made once where the submission is prepared."""

    name: ClassVar[str] = "apptainer"
    program: ClassVar[str] = "apptainer"
    takes: ClassVar[str] = SIF
    prefix: ClassVar[str] = "APPTAINER"

    def ready(self, image: Image) -> Sequence[str]:
        """Look whether the node sees the file, if it is one."""
        if not image.name.startswith(("/", "~/")):
            return ()
        file = path(image.name)
        return (f'[ -e {file} ] || {{ echo "there is no "{file}" on $(uname -n)" >&2; exit 125; }}',)

    def run(self, image: Image, run: Run) -> Sequence[str]:
        """Replace the shell by it. Neither the home nor the job's variables leak into the image."""
        options = ["--cleanenv", "--no-home"]
        options += [] if run.network else ["--net", "--network=none"]
        options += {"nvidia": ["--nv"], "amd": ["--rocm"]}.get(run.gpus, [])
        given = f'{words([*options, *run.options])} "${{mounts[@]}}" --pwd "$workdir"'
        return (
            *mounted(run),
            # Given as options, values would be split at commas; and a shell in the container would evaluate them.
            'for name in "${passed[@]}"; do',
            f'    [ -z "${{!name+set}}" ] || export "{self.prefix}ENV_$name=${{!name}}"',
            "done",
            f"export {self.prefix}_NO_EVAL=1",
            f'exec {self.program} --silent --nocolor exec{given} {path(image.name)} "$@"',
        )

    def make(self, source: str, image: str, *, plain: bool) -> Sequence[str]:
        """The command that makes the file of an image from `docker://…` or `docker-archive:…`."""
        return (self.program, "--nocolor", "build", *(["--no-https"] if plain else []), image, source)


class Singularity(Apptainer):
    """SingularityCE, and Singularity before it was two."""

    name = program = "singularity"
    prefix = "SINGULARITY"
