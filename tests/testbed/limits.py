"""The memory limits of a testbed: its jobs are in cgroups (v1), so that the kernel kills those that want more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from testbed.programs import CGROUPS, CONTROLLERS


def memory_settings(memory: int, cpus: int) -> dict[str, str]:
    """Return the lines of slurm.conf; a job that doesn't say what it needs gets its CPUs' share of the memory."""
    return {
        "ProctrackType": "proctrack/cgroup",
        "TaskPlugin": "task/cgroup",
        "SelectTypeParameters": "CR_Core_Memory",
        "DefMemPerCPU": str(memory // cpus),
    }


def make_cgroups(directory: Path, own: Callable[[Path], object]) -> Path:
    """Make the cgroups of a testbed and return what cgroup.conf is to take for their mount point.

    That is a directory of links: what Slurm makes at the real one, `slurm_n1` and so on, would be shared by all
    testbeds, whose jobs have the same numbers. own is told of each cgroup before there is one.
    """
    mounts = directory / "cgroup"
    mounts.mkdir()
    for controller in CONTROLLERS:
        cgroup = CGROUPS / controller / directory.name
        own(cgroup)
        cgroup.mkdir()
        (mounts / controller).symlink_to(cgroup)
    return mounts
