"""What is asked of a container runtime, and what all launchers share.

A launcher is a script of bash, kept with the environment: `bash launcher command …` runs the command in the image, on
the node that it is called on; without a command it makes the image ready there.
"""

from __future__ import annotations

import re
import shlex
from pkgutil import get_data
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from slurm.errors import ConfigurationError
from slurm.protocol.boot import RUN_SOURCE

if TYPE_CHECKING:
    from collections.abc import Sequence

_PREFIXES = ("SLURM", "CUDA_", "NVIDIA_", "ROCR_", "HIP_", "GPU_", "ZE_", "OMP_", "NCCL_", "MASTER_", "PMI", "WORLD_")
_NAMES = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "PYTHONUNBUFFERED")
"""The variables of a job that a task in a container sees, besides those that the user names."""


class Mount(NamedTuple):
    """A directory or file of the node that is seen in the container."""

    source: str
    target: str
    readonly: bool = False

    @classmethod
    def parse(cls, text: str) -> Mount:
        """A mount as docker's and podman's --volume and apptainer's --bind have it: `source[:target[:ro]]`."""
        source, target, mode, *rest = [*text.split(":"), "", ""]
        target = target or source
        if any(rest) or mode not in ("", "ro", "rw") or not target.startswith(("/", "~/")):
            message = f"mount {text!r}: write 'source', 'source:target' or 'source:target:ro', with absolute paths"
            raise ConfigurationError(message)
        if not source.startswith(("/", "~/")):
            message = f"mount {text!r}: {source!r} is not an absolute path there, or one from ~/"
            raise ConfigurationError(message)
        return cls(source, target, mode == "ro")


class Image(NamedTuple):
    """An image, as a runtime takes it."""

    name: str
    """A reference with its digest, the path of a file there, or `docker-archive:<path>@<id>`, which brings it."""
    source: str
    """Where it came from: a reference with its digest; for one that was built or kept by the client, its tag and id."""

    @property
    def archive(self) -> tuple[str, str] | None:
        """The path of the docker-archive there that brings it to the nodes, if one does, and the image's id."""
        kind, _, rest = self.name.partition(":")
        path, _, image_id = rest.rpartition("@")
        return (path, image_id) if kind == "docker-archive" and path else None


class Run(NamedTuple):
    """How a command is run in an image."""

    root: str
    """The store's, which the command must see."""
    mounts: tuple[Mount, ...] = ()
    env: tuple[tuple[str, str | None], ...] = ()
    """Variables for the command; those without a value have that of the job's shell."""
    gpus: str = ""
    """"nvidia", "amd", or none."""
    workdir: str | None = None
    """None: that of the job, which is mounted."""
    network: bool = True
    options: tuple[str, ...] = ()
    """Further options of the runtime, as they are."""


REFERENCE, ARCHIVE, SIF, BUNDLE = "reference", "archive", "SIF", "bundle"
"""What a runtime takes: an image in a registry only; that, or a docker-archive too; a file that is made from either; a
directory with the image's files and a config.json that says how one command is run in it."""


class Runtime(Protocol):
    """One container runtime: pure text."""

    name: ClassVar[str]
    program: ClassVar[str]
    """The command that must be there."""
    takes: ClassVar[str]
    is_step: ClassVar[bool] = False
    """Whether it is srun, which starts the ranks of a task itself: none of them can start a step of its own."""

    def make(self, source: str, file: str, *, plain: bool) -> Sequence[str]:
        """The command that makes a file of an image, for a runtime that takes a SIF."""
        del file, plain
        raise ConfigurationError(f"{self.name} takes no file, which {source} could be made into")

    def ready(self, image: Image) -> Sequence[str]:
        """Lines that have the image on the node, and exit if it can't be had."""
        del image
        return ()

    def run(self, image: Image, run: Run) -> Sequence[str]:
        """Lines that run "$@" in it, and exit with its status. `passed` are the names of variables."""

    def single(self, srun: str) -> str | None:
        """Why it can't run several ranks, and what can; None if it can. `srun` is what `srun --version` says there."""
        del srun
        return None


def launcher(runtime: Runtime, image: Image, run: Run) -> str:
    """The script."""
    return "\n".join([
        "#!/bin/bash",
        f"# Runs a command by {runtime.name} in {_comment(image.source)}",
        "# By hand: bash THIS_FILE python3 -c 'import sys; print(sys.version)'",
        f"command -v {runtime.program} > /dev/null ||",
        f'    {{ echo "there is no {runtime.program} on $(uname -n) to run a container by" >&2; exit 127; }}',
        '[ -d "${XDG_RUNTIME_DIR-}" ] || unset XDG_RUNTIME_DIR',  # a login's, who may not be logged in on this node
        'if [ "${SLURM_NODEID:-0}" != 0 ] || [ $# = 0 ]; then',  # the job's own script has seen to the first node
        "    :",
        *(f"    {line}" for line in runtime.ready(image)),
        "    [ $# != 0 ] || exit 0",
        "fi",
        *(f"export {name}={shlex.quote(value)}" for name, value in run.env if value is not None),
        "export PYTHONNOUSERSITE=1",
        f"passed=({_names(run)})",
        *runtime.run(image, run),
        "",
    ])  # fmt: skip


def _names(run: Run) -> str:
    """The names of the variables that are passed, as words of bash."""
    some = [f'"${{!{prefix}@}}"' for prefix in _PREFIXES]
    return " ".join([*some, *_NAMES, "PYTHONNOUSERSITE", *(name for name, _ in run.env)])


def _comment(text: str) -> str:
    return re.sub(r"[^ -~]", "?", text)


def path(text: str) -> str:
    """A path as a word of bash; from ~/ it is in the home."""
    return f'"$HOME"/{shlex.quote(text[2:])}' if text.startswith("~/") else shlex.quote(text)


def words(arguments: Sequence[str]) -> str:
    """Words of bash that stand for themselves, each after a space."""
    return "".join(f" {shlex.quote(argument)}" for argument in arguments)


STEP = "SLURMTASKS_STEP"
"""The variable that tells a launcher which is a step how ranks are started: srun, and its options."""

AS_STEP = (f"step=(${{{STEP}:-srun --nodes=1 --ntasks=1 --export=ALL}})", f"unset {STEP}")
"""Lines that set `step`, for runtimes that are srun: where there are no ranks it is one task."""

MOUNT = (
    "mounts=()",
    "mount() {",  # a field of CSV each, for a path may have commas
    '    local source="source=$1" target="destination=$2"',
    r'    mounts+=(--mount "type=bind,\"${source//\"/\"\"}\",\"${target//\"/\"\"}\"${3-}")',
    "}",
)
"""`mount source target [,readonly]`: an option for podman, docker and apptainer."""


def mounted(run: Run) -> Sequence[str]:
    """Lines that call `mount` for all that the command is to see, and set `workdir`."""
    asked = [f"mount {path(m.source)} {path(m.target)}{' ,readonly' if m.readonly else ''}" for m in run.mounts]
    root = path(run.root)
    if run.workdir is not None:
        return (*MOUNT, f"mount {root} {root}", *asked, f"workdir={path(run.workdir)}")
    own = f'case $PWD in /|{root}|{root}/*) ;; *) mount "$PWD" "$PWD" ;; esac'
    return (*MOUNT, f"mount {root} {root}", own, *asked, "workdir=$PWD")


def reined(start: str) -> Sequence[str]:
    """Lines that run "$@" by a container that words of bash start, with reins as its input: see `container_init`.

    Its status is `$status` then. What reads the pipe finds its end once this shell is gone, however it ended.
    """
    init = (get_data("slurm.environments", "container_init.py") or b"").decode()
    return (
        f"init=$(cat <<'EOF'\n{init}EOF\n)",
        "exec 9<> <(:)",
        'for name in HUP INT TERM USR1 USR2; do trap "stopped=$name; echo $name >&9" $name; done',
        f'{start} "$1" -c {shlex.quote(RUN_SOURCE)} "$init" "$@" < /dev/fd/9 9>&- &',
        "running=$!",
        "while kill -0 $running 2> /dev/null; do wait $running; done",  # a signal ends `wait`
        "wait $running",
        "status=$?",
    )
