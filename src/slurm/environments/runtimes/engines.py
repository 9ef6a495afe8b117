"""Podman and docker, whose containers are not child processes of the job."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, ClassVar

from slurm.environments.images import on_loopback
from slurm.environments.runtimes.base import ARCHIVE, Runtime, mounted, path, with_control_pipe, words
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.environments.runtimes.base import Image, Run

_NAME = "slurm-"
"""The beginning of the names of containers. The job, the rank, and the launcher's process id and start follow."""


class Engine(Runtime):
    """The common command line of podman and docker."""

    takes: ClassVar[str] = ARCHIVE

    exists: ClassVar[str]
    user: ClassVar[Sequence[str]]
    """Lines that add to `options` so that files belong to the user of the job."""
    own: ClassVar[str] = ""
    keep_user: ClassVar[str] = ""
    """A word of bash that keeps the user's own identity in the container of an ordinary user."""
    gpus: ClassVar[Mapping[str, str]]

    def functions(self) -> Sequence[str]:
        """Define what names containers, and removes those that were left."""
        return (program(__name__, "containers_left.sh").rstrip(),)

    def ready(self, image: Image) -> Sequence[str]:
        """Pull or load the image unless the node has it, one process of a node at a time.

        Also remove containers that other jobs left there.
        """
        name = _name(image)
        there = f"{self.program} {self.exists} {shlex.quote(name)} > /dev/null 2>&1"
        lock = f'"${{XDG_RUNTIME_DIR:-/tmp}}/slurm-tasks-$UID-{name[-12:]}.lock"'
        return (
            f"remove_left {self.program} '^{_NAME}[0-9]+-[0-9]+-[0-9]+(-[0-9]*)?$'",
            f"{there} || ( flock 9; {there} || {self._fetch(image)} >&2 ) 9>> {lock} || exit 125",
        )

    def _fetch(self, image: Image) -> str:
        if image.archive:
            return f"{self.program} load --quiet --input {path(image.archive[0])}"
        return f"{self.program} pull --quiet{self._pull(image)} {shlex.quote(image.name)}"

    def _pull(self, image: Image) -> str:
        del image
        return ""

    def run(self, image: Image, run: Run) -> Sequence[str]:
        """Run the container with a control pipe as its input (see `container_init`).

        Signals pass through the pipe, too. An engine would start a helper process for each signal, but the scheduler
        sends SIGTERM to all processes of the job, which would end the helper first.
        """
        return (
            *mounted(run),
            "mount /dev/shm /dev/shm",  # a container's default /dev/shm is small
            f"options=({self._options(run)})",
            *self.user,
            'for name in "${passed[@]}"; do [ -z "${!name+set}" ] || options+=(--env "$name"); done',
            f"container={_NAME}${{SLURM_JOB_ID:-0}}-${{SLURM_PROCID:-0}}-$$-$(started $$)",
            *(["options+=(--log-driver=none)"] if run.shell else ()),
            *with_control_pipe(
                f'{self.program} run --rm --interactive --sig-proxy=false --name "$container" --entrypoint= '
                '--workdir "$workdir" "${mounts[@]}" "${options[@]}" '
                f"{shlex.quote(_name(image))}",
                run,
                wait=f'{self.program} wait "$container"',
            ),
            'if [ "${stopped-}" ]; then',
            *([] if run.shell else [f'    {self.program} stop -t 10 "$container" > /dev/null 2>&1']),
            f'    {self.program} rm --force "$container" > /dev/null 2>&1',
            "fi",
            "exit $status",
        )

    def by_hand(self, image: str, run: Run, directories: Sequence[str]) -> str:
        """Return a command with the same options. Files belong to the user."""
        mounts = [f"{path(m.source)}:{path(m.target)}{':ro' if m.readonly else ''}" for m in run.mounts]
        volumes = "".join(f" --volume {each}:{each}" for each in directories) + "".join(
            f" --volume {m}" for m in mounts
        )
        env = "".join(f" --env {shlex.quote(f'{name}={value}')}" for name, value in run.env if value is not None)
        options = self._options(run).replace(" --pull=never", "")
        return (
            f'{self.program} run --rm {options} --user "$(id -u):$(id -g)"{self.keep_user}{env} --entrypoint= '
            f'--workdir "$PWD"{volumes} {shlex.quote(image)}'
        )

    def _options(self, run: Run) -> str:
        gpus = f" {self.gpus[run.gpus]}" if run.gpus else ""
        return f"--network={'host' if run.network else 'none'}{self.own}{words(run.options)}{gpus}"


def _name(image: Image) -> str:
    return image.archive[1] if image.archive else image.name


class Podman(Engine):
    """Podman, as root or as an ordinary user."""

    name = program = "podman"
    exists = "image exists"
    user = ('options+=(--user "$(id -u):$(id -g)"); [ "$(id -u)" = 0 ] || options+=(--userns=keep-id)',)
    keep_user = ' $([ "$(id -u)" = 0 ] || echo --userns=keep-id)'
    own = " --security-opt label=disable --pull=never"
    gpus: ClassVar = {"nvidia": "--device nvidia.com/gpu=all", "amd": "--device /dev/kfd --device /dev/dri"}

    def _pull(self, image: Image) -> str:
        return " --tls-verify=false" if on_loopback(image.name) else ""


class Docker(Engine):
    """Docker. Its daemon decides which registries may use plain HTTP: those on loopback."""

    name = program = "docker"
    exists = "image inspect"
    user = (
        "docker info --format '{{.SecurityOptions}}' 2> /dev/null | grep -q rootless ||",
        '    options+=(--user "$(id -u):$(id -g)")',  # in a rootless daemon, the user is root
    )
    gpus: ClassVar = {"nvidia": "--gpus all", "amd": "--device /dev/kfd --device /dev/dri"}
