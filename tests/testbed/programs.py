"""Where the programs of Slurm are on this machine, and how to get those that are not there."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

_NEEDED = ("slurmctld", "slurmd", "sbatch")
_INSTALL = "sudo apt-get install --no-install-recommends slurmctld slurmd slurm-client"
_INSTALL_FAKETIME = "sudo apt-get install --no-install-recommends faketime"

# Daemons are installed here, and an ordinary user's PATH often leaves these out.
_DAEMON_DIRECTORIES = ("/usr/sbin", "/usr/local/sbin", "/sbin")

# Every Slurm command reads its options from variables of its own as well; inside a job the SLURM_ ones name
# that job.
_SLURM_PREFIXES = (
    *("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_", "SCANCEL_"),
    *("SQUEUE_", "SINFO_", "SACCT_", "SSTAT_", "SPRIO_", "SCONTROL_"),
)

_FAKETIME_PATTERNS = (
    "usr/lib/*/faketime/libfaketimeMT.so.1",
    "usr/lib*/faketime/libfaketimeMT.so.1",
    "usr/local/lib*/faketime/libfaketimeMT.so.1",
)


def search_path() -> str:
    """Return this process's PATH with the daemons' usual directories after it."""
    known = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*known, *(each for each in _DAEMON_DIRECTORIES if each not in known)])


def find_program(name: str) -> str | None:
    """Return the path of a program, the daemons' directories included."""
    return shutil.which(name, path=search_path())


def find_faketime() -> Path | None:
    """Return the library that bends the clock of a threaded program."""
    return next((found for pattern in _FAKETIME_PATTERNS for found in sorted(Path("/").glob(pattern))), None)


def missing() -> str | None:
    """Return what this machine lacks to run a testbed and the command that brings it, or None."""
    if sys.platform != "linux":
        return "a Slurm testbed needs Linux"
    absent = [name for name in _NEEDED if find_program(name) is None]
    return f"Slurm is not installed (no {', '.join(absent)}); get it with: {_INSTALL}" if absent else None


def missing_faketime() -> str | None:
    """Return what this machine lacks for a faster clock and the command that brings it, or None."""
    if find_faketime() is None:
        return f"libfaketime is not installed; get it with: {_INSTALL_FAKETIME}"
    return None


def without_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without any variable that Slurm's commands would take as an option."""
    return {key: value for key, value in environment.items() if not key.startswith(_SLURM_PREFIXES)}
