"""MPI: start a program once for each task of an allocation, and check that the processes form one world."""

from __future__ import annotations

import os

from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.attempt_directory import STDERR, STDOUT
from slurm.runner.program import MARK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WORLD = ".world"
"""The file in the attempt's directory to which a process writes the size of its world if the size is wrong."""
VARIABLES = ("PMI_SIZE", "PMI_UNIVERSE_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK")
"""Variables that launchers set for MPI libraries. A runner that belongs to an MPI world inherits them."""
_CHECK = """\
want=${SLURM_STEP_NUM_TASKS:-${SLURM_NTASKS:-1}}
size=${PMI_SIZE:-${OMPI_COMM_WORLD_SIZE:-${PMI_UNIVERSE_SIZE:-${PMIX_RANK:+$want}}}}
[ "${size:-1}" = "$want" ] || { echo "${size:-1} $want" > .world; exit 1; }
"""
"""Runs in place of each process, becomes the program, and keeps its descriptors. PMIx has no variable for the size."""


_TO_LOGS = """\
[ ! "${{{mark}:-}}" ] || [ "$(uname -n)" != {host} ] || exec >> {stdout} 2>> {stderr}
"""
"""Writes output to the logs directly: MPICH's mpiexec may lose output after MPI_Abort, because it ends too early."""


def launched(words: Sequence[str], argv: Sequence[str], directory: str) -> list[str]:
    """Return the command that starts a program in all tasks. With --mpi=none, no world is checked.

    Processes that mpiexec starts on this host write directly to the logs in the directory of the attempt.
    """
    if "--mpi=none" in words:
        return [*words, *argv]
    logs = _to_logs(directory) if words[0] == "mpiexec" else ""
    return [*words, "sh", "-c", f'{_CHECK}{logs}exec "$@"\n', "sh", *argv]


def _to_logs(directory: str) -> str:
    import shlex  # noqa: PLC0415 - few commands use mpiexec

    return _TO_LOGS.format(
        mark=MARK,
        host=shlex.quote(os.uname().nodename),
        stdout=shlex.quote(f"{directory}/{STDOUT}"),
        stderr=shlex.quote(f"{directory}/{STDERR}"),
    )


def without_world(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables of another world."""
    return {name: value for name, value in environ.items() if name not in VARIABLES}


def problem(words: Sequence[str], environ: Mapping[str, str], directory: str, status: int) -> str:
    """Return what is wrong with the launcher if it has not started the program in one world, "" otherwise."""
    launcher = words[0]
    if status == 127 and not _is_found(launcher, environ):
        return (
            f"{launcher} is not on PATH there. Install an MPI in the environment, for example with "
            "`pip install mpich`, or load its module in the setup"
        )
    try:
        with open(f"{directory}/{_WORLD}") as file:
            size, want = file.read().split()
    except (OSError, ValueError):
        return ""
    kind = next((word for word in words if word.startswith("--mpi=")), "no --mpi")
    return (
        f"{launcher} with {kind} started {want} processes in worlds of size {size} instead of one world. Nothing was "
        "run. Set the option mpi to a kind that your MPI library supports, such as mpi='pmi2' (MPICH) or mpi='pmix' "
        f"(Open MPI); `{launcher} --mpi=list` lists those of the cluster"
    )


def _is_found(program: str, environ: Mapping[str, str]) -> bool:
    import shutil  # noqa: PLC0415 - only for an error message

    return shutil.which(program, path=environ.get("PATH")) is not None
