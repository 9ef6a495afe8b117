"""Memory: what the kernel tells about the processes that it has ended for their memory."""

from __future__ import annotations

OUT_OF_MEMORY = "OUT_OF_MEMORY"
"""The state of a job with such a process."""


def memory_kills() -> int:
    """How many processes of this control group the kernel has killed for their memory.

    Slurm reports this for jobs but not for steps. Reads the files of cgroups(7), version 1 or 2.
    """
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as groups:
            paths = [line.rstrip("\n").split(":", 2)[1:] for line in groups]
    except OSError:
        return 0
    return sum(_kills_of(controllers, path) for controllers, path in paths if controllers in ("memory", ""))


def _kills_of(controllers: str, path: str) -> int:
    file = f"memory{path}/memory.oom_control" if controllers else f"{path}/memory.events"
    try:
        with open(f"/sys/fs/cgroup/{file}", encoding="ascii") as counts:
            return sum(int(line.split()[1]) for line in counts if line.startswith("oom_kill "))
    except OSError:
        return 0
