"""The interface of a container runtime, and the parts that all launchers share.

A launcher is a bash script that is stored with the environment. `bash launcher command …` runs the command in the
image on the current node. Without a command it makes the image ready on the node.
"""

from __future__ import annotations

import re
import shlex
from pkgutil import get_data
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from slurm.errors import ConfigurationError
from slurm.protocol.boot import RUN_SOURCE
from slurm.protocol.shell import program
from slurm.runner.launcher_variables import HERE, NAMED, NAMES, UNSET, VALUE
from slurm.runner.program import MARK

if TYPE_CHECKING:
    from collections.abc import Sequence

_PREFIXES = ("SLURM", "CUDA_", "NVIDIA_", "ROCR_", "HIP_", "GPU_", "ZE_", "OMP_", "NCCL_", "MASTER_", "PMI", "WORLD_")
_NAMES = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "PYTHONUNBUFFERED")
"""Variables of the job that a task in a container sees, besides those that the user names."""


class Mount(NamedTuple):
    """A directory or file of the node that is mounted in the container."""

    source: str
    target: str
    readonly: bool = False

    @classmethod
    def parse(cls, text: str) -> Mount:
        """Parse `source[:target[:ro]]`, as in --volume of docker and podman and --bind of apptainer."""
        source, target, mode, *rest = [*text.split(":"), "", ""]
        target = target or source
        if any(rest) or mode not in ("", "ro", "rw") or not target.startswith(("/", "~/")):
            raise ConfigurationError(
                f"mount {text!r}: write 'source', 'source:target' or 'source:target:ro', with absolute paths"
            )
        if not source.startswith(("/", "~/")):
            raise ConfigurationError(f"mount {text!r}: {source!r} must be an absolute path, or begin with ~/")
        return cls(source, target, mode == "ro")


class Image(NamedTuple):
    """An image in the form that a runtime takes."""

    name: str
    """A reference with a digest, the path of a file, or `docker-archive:<path>@<id>`, an archive to load."""
    source: str
    """The origin: a reference with a digest, or the tag and id of a local image of the client."""

    @property
    def archive(self) -> tuple[str, str] | None:
        """The path of the docker-archive to load on the nodes, and the id of the image; None if there is none."""
        kind, _, rest = self.name.partition(":")
        path, _, image_id = rest.rpartition("@")
        return (path, image_id) if kind == "docker-archive" and path else None


class Run(NamedTuple):
    """How a command is run in an image."""

    root: str
    """The root of the job directories, which the command must see."""
    mounts: tuple[Mount, ...] = ()
    env: tuple[tuple[str, str | None], ...] = ()
    """Variables for the command. None takes the value from the shell of the job."""
    gpus: str = ""
    """"nvidia", "amd", or ""."""
    workdir: str | None = None
    """The working directory of the command; None for that of the job, which is then mounted."""
    network: bool = True
    options: tuple[str, ...] = ()
    """More options for the runtime, passed unchanged."""
    shell: str | None = None
    """For the program of a command, which needs no Python in the image: the directory of a shell for its container."""


REFERENCE, ARCHIVE, SIF, BUNDLE = "reference", "archive", "SIF", "bundle"
"""What a runtime takes: only an image in a registry; an image in a registry or a docker-archive; a file made from one
of these; or a directory with the files of the image and a config.json that says how to run a command in it."""


class Runtime(Protocol):
    """One container runtime. Its methods return shell text and run nothing."""

    name: ClassVar[str]
    program: ClassVar[str]
    """The command that must be installed."""
    takes: ClassVar[str]
    is_step: ClassVar[bool] = False
    """Whether the runtime is srun, which starts the ranks of a task itself. A rank cannot start steps of its own."""

    def make(self, source: str, file: str, *, plain: bool) -> Sequence[str]:
        """Return the command that makes an image file, for a runtime that takes a SIF."""
        del file, plain
        raise ConfigurationError(f"{self.name} cannot convert {source} into an image file")

    def functions(self) -> Sequence[str]:
        """Return lines that define what the other lines call."""
        return ()

    def ready(self, image: Image) -> Sequence[str]:
        """Return lines that make the image ready on the node, and exit if that fails."""
        del image
        return ()

    def run(self, image: Image, run: Run) -> Sequence[str]:
        """Return lines that run "$@" in the image, and exit with its status. `passed` holds names of variables."""

    def by_hand(self, image: str, run: Run, directories: Sequence[str]) -> str:
        """Return words of bash that run a command in an image without a job, in the working directory.

        `image` is a reference or the path of a file. `directories` are words of bash, mounted unchanged. Raises
        ConfigurationError for a runtime that only works in a job.
        """
        del image, run, directories
        raise ConfigurationError(f"{self.name} starts containers in jobs only: choose apptainer, podman or docker")

    def single(self, srun: str) -> str | None:
        """Return why the runtime cannot run several ranks; None if it can. `srun` is the output of `srun --version`."""
        del srun
        return None


def launcher(runtime: Runtime, image: Image, run: Run) -> str:
    """Return the launcher script."""
    return "\n".join([
        "#!/bin/bash",
        f"# Runs a command by {runtime.name} in {_comment(image.source)}",
        "# By hand: bash THIS_FILE python3 -c 'import sys; print(sys.version)'",
        f"command -v {runtime.program} > /dev/null ||",
        f'    {{ echo "there is no {runtime.program} on $(uname -n) to run a container by" >&2; exit 127; }}',
        *runtime.functions(),
        '[ -d "${XDG_RUNTIME_DIR-}" ] || unset XDG_RUNTIME_DIR',  # a login session may not exist here
        'if [ "${SLURM_NODEID:-0}" != 0 ] || [ $# = 0 ]; then',  # the job did it on the first node
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
    """The names of the passed variables, as words of bash."""
    some = [f'"${{!{prefix}@}}"' for prefix in _PREFIXES]
    own = [MARK, NAMES, UNSET, f'"${{!{VALUE}@}}"'] if run.shell else []
    return " ".join([*some, f"${{{NAMED}-}}", *_NAMES, "PYTHONNOUSERSITE", *own, *(name for name, _ in run.env)])


def _comment(text: str) -> str:
    return re.sub(r"[^ -~]", "?", text)


def path(text: str) -> str:
    """Quote a path for bash. A leading ~/ is the home directory."""
    return f'"$HOME"/{shlex.quote(text[2:])}' if text.startswith("~/") else shlex.quote(text)


def words(arguments: Sequence[str]) -> str:
    """Quote arguments for bash, each after a space."""
    return "".join(f" {shlex.quote(argument)}" for argument in arguments)


STEP = "SLURMTASKS_STEP"
"""The variable that passes the srun command with its options to a launcher that starts the ranks itself."""

AS_STEP = (f"step=(${{{STEP}:-srun --nodes=1 --ntasks=1 --export=ALL}})", f"unset {STEP}")
"""Lines that set `step` for runtimes that are srun. Without ranks it starts one task."""

MOUNT = (
    "mounts=()",
    "mount() {",  # each is a CSV field, because a path may have commas
    '    local source="source=$1" target="destination=$2"',
    r'    mounts+=(--mount "type=bind,\"${source//\"/\"\"}\",\"${target//\"/\"\"}\"${3-}")',
    "}",
)
"""`mount source target [,readonly]`: an option for podman, docker and apptainer."""


def mounted(run: Run) -> Sequence[str]:
    """Return lines that call `mount` for everything that the command must see, and set `workdir`.

    A program starts in its own directory, which is under the root, and sees the working directory of the job.
    """
    asked = [f"mount {path(m.source)} {path(m.target)}{' ,readonly' if m.readonly else ''}" for m in run.mounts]
    root = path(run.root)
    if run.workdir is not None:
        workdir = "$PWD" if run.shell else path(run.workdir)
        return (*MOUNT, f"mount {root} {root}", *asked, f"workdir={workdir}")
    own = f'case $here in /|{root}|{root}/*) ;; *) mount "$here" "$here" ;; esac'
    return (*MOUNT, f"mount {root} {root}", f"here=${{{HERE}-$PWD}}", own, *asked, "workdir=$PWD")


_FORWARD = 'for name in HUP INT TERM USR1 USR2; do trap "stopped=$name; echo $name >&9" $name; done'
_WAIT = (
    "running=$!",
    "while kill -0 $running 2> /dev/null; do wait $running; done",  # a signal ends `wait`
    "wait $running",
    "status=$?",
)


def with_control_pipe(start: str, run: Run, *, wait: str = ":") -> Sequence[str]:
    """Return lines that run "$@" in a container with a control pipe as its input (see `container_init`).

    The lines set `$status` to the exit status. The pipe reaches its end when this shell is gone, for any reason. `wait`
    is a command that waits for the container if a signal has ended the one that started it.
    """
    if run.shell:
        return _program_with_control_pipe(start, run.shell, wait)
    init = (get_data("slurm.environments", "container_init.py") or b"").decode()
    return (
        f"init=$(cat <<'EOF'\n{init}EOF\n)",
        "exec 9<> <(:)",
        _FORWARD,
        f'{start} "$1" -c {shlex.quote(RUN_SOURCE)} "$init" "$@" < /dev/fd/9 9>&- &',
        *_WAIT,
    )


def _program_with_control_pipe(start: str, shell: str, wait: str) -> Sequence[str]:
    """Like `with_control_pipe`, for an image without Python: a shell from outside runs `program_init.sh` as process 1.

    Signals, input, output and the exit status pass through files and not through the engine, because the scheduler's
    SIGTERM ends the engine before the program.
    """
    init = program(__name__, "program_init.sh")
    return (
        f"init=$(cat <<'EOF'\n{init}EOF\n)",
        f"shell={path(shell)} control=$PWD/.control.$$ out= err= input=/dev/null result=$PWD/.status.$$",
        'mkfifo -m 600 "$control" || exit 125',
        'within=("$shell/sh")',
        '[ ! -e "$shell/loader" ] || within=("$shell/loader" --library-path "$shell" "$shell/sh")',
        '[ ! -f /dev/fd/0 ] || { input=$PWD/.input.$$; cat > "$input"; }',
        "[ ! stdout.log -ef /dev/fd/1 ] || [ ! stderr.log -ef /dev/fd/2 ] || { out=stdout.log err=stderr.log; }",
        'exec 9<> "$control"',
        _FORWARD,
        "set -m",  # signals to the group of this shell do not reach the command that starts the container
        f'{start} "${{within[@]}}" -c "$init" sh "$control" "$out" "$err" "$input" "$result" "$@" < /dev/null 9>&- &',
        *_WAIT,
        f'[ -z "${{stopped-}}" ] || [ -s "$result" ] || {wait} > /dev/null 2>&1 9>&-',
        '[ ! -s "$result" ] || status=$(cat "$result")',
        'rm -f "$control" "$result" "$PWD/.input.$$"',
    )
