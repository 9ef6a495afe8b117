"""Where the programs of Slurm are on this machine, and how to get those that are not there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

_NEEDED = ("slurmctld", "slurmd", "sbatch")
_INSTALL = "sudo apt-get install --no-install-recommends slurmctld slurmd slurm-client"
_ACCOUNTING_NEEDED = ("mariadbd", "mariadb-install-db", "slurmdbd", "sacctmgr", "sacct")
_INSTALL_ACCOUNTING = (
    "sudo apt-get install --no-install-recommends mariadb-server slurmdbd slurm-wlm-mysql-plugin slurm-client"
)
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

_MYSQL_PLUGIN = "accounting_storage_mysql.so"
_MYSQL_PLUGIN_PATTERNS = (
    f"usr/lib/*/slurm*/{_MYSQL_PLUGIN}",
    f"usr/lib*/slurm*/{_MYSQL_PLUGIN}",
    f"usr/local/lib*/slurm*/{_MYSQL_PLUGIN}",
)

PLUGINS = "plugins"
"""The directory of an unpacked Slurm's plugins; it lies beside its `bin`."""

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "freezer")
"""What task/cgroup and proctrack/cgroup make cgroups of."""


def search_path() -> str:
    """Return this process's PATH with the daemons' usual directories after it."""
    known = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*known, *(each for each in _DAEMON_DIRECTORIES if each not in known)])


def find_program(name: str) -> str | None:
    """Return the path of a program, the daemons' directories included."""
    return shutil.which(name, path=search_path())


def slurm_release() -> tuple[int, int]:
    """Return the year and month of the Slurm that is first on PATH, such as (24, 11); (0, 0) without one."""
    program = find_program("slurmctld")
    told = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stdout if program else ""
    found = re.search(r"(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def plugin_directory() -> Path | None:
    """Return the PluginDir of an unpacked Slurm; None for an installed one, which needs no such setting."""
    found = find_program("slurmctld")
    plugins = Path(found).parent.parent / PLUGINS if found else None
    return plugins if plugins and plugins.is_dir() else None


def find_faketime() -> Path | None:
    """Return the library that bends the clock of a threaded program."""
    return _find_file(_FAKETIME_PATTERNS)


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


def missing_accounting() -> str | None:
    """Return what this machine lacks for accounting and the command that brings it, or None."""
    absent = [name for name in _ACCOUNTING_NEEDED if find_program(name) is None]
    unpacked = plugin_directory()
    if not ((unpacked / _MYSQL_PLUGIN).exists() if unpacked else _find_file(_MYSQL_PLUGIN_PATTERNS)):
        absent.append(_MYSQL_PLUGIN)
    lacking = f"Slurm's accounting is not installed (no {', '.join(absent)}); get it with: {_INSTALL_ACCOUNTING}"
    return lacking if absent else None


def missing_root() -> str | None:
    """Return why this user can't limit memory, or None for root: that is nothing to install."""
    return None if os.geteuid() == 0 else "limits on memory need root, who alone may make cgroups"


def missing_memory_limits() -> str | None:
    """Return what keeps this machine or user from limiting the memory of jobs, or None."""
    absent = [str(CGROUPS / name) for name in CONTROLLERS if not os.access(CGROUPS / name / "tasks", os.W_OK)]
    lacking = f"limits on memory need cgroups of version 1, writable (no {', '.join(absent)})"
    return missing_root() or (lacking if absent else None)


def _find_file(patterns: Iterable[str]) -> Path | None:
    return next((found for pattern in patterns for found in sorted(Path("/").glob(pattern))), None)


def without_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without any variable that Slurm's commands would take as an option."""
    return {key: value for key, value in environment.items() if not key.startswith(_SLURM_PREFIXES)}
