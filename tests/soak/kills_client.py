"""The client of test_kills.py: submits map after map and waits for them, and may be killed and started again."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from slurm import Cluster, JobArray, Task, task, wait
from slurm.errors import JobLost

SIZE = 6
"""The calls of one map."""
AHEAD = 3
"""The number of maps that are under way at a time."""


def act_in(name: str, directory: str) -> Task[..., str]:
    """The task of one map: each call names its process, takes its time, and leaves a line as its side effect."""

    def act(index: int, seconds: float) -> str:
        label = f"{name}[{index}]"
        running = Path(directory, "running", f"{os.getpid()} {label}")
        running.touch()
        time.sleep(seconds)
        with open(Path(directory, "trace"), "ab", buffering=0) as file:
            file.write(f"{label}\n".encode())
        running.unlink()
        return label

    act.__name__ = name
    return task(act)


def submitted(cluster: Cluster) -> dict[str, JobArray[str]]:
    """The maps that were queued, by whatever client, by their names."""
    found: dict[str, JobArray[str]] = {}
    for array in cluster.jobs():
        assert isinstance(array, JobArray)
        # A client that was killed before it came to queue a map leaves one that is lost.
        if array[0].job_id is not None or not isinstance(array[0].exception(), JobLost):
            assert array.key.partition("/")[0] not in found, f"{array.key} was queued twice"
            found[array.key.partition("/")[0]] = array
    return found


def main(url: str, directory: str) -> None:
    """Submit maps until there is a file `enough`, and wait for all."""
    with Cluster(url, root=f"{directory}/root") as cluster:
        known = submitted(cluster)
        arrays = list(known.values())
        number = 0
        while not Path(directory, "enough").exists():
            name = f"map_{number:05}"
            number += 1
            if name not in known:
                seconds = [0.1 + 0.2 * index for index in range(SIZE)]
                arrays.append(act_in(name, directory).map(range(SIZE), seconds))
                wait(arrays[-AHEAD:][:1])
        wait(arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
