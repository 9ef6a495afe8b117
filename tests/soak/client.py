"""The client of test_soak.py: submits maps of calls that end in a dozen ways, and may be killed and started again."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from slurm import Cluster, JobArray, JobContext, Task, task, wait
from slurm.errors import JobLost

SINGLES, CHUNKED, CHUNK = 1600, 400, 3
"""How many elements make one call, how many several, and these how many."""


class Locked(Exception):
    """It can't be pickled."""

    def __init__(self) -> None:
        super().__init__("locked")
        self.generator = (number for number in range(3))


def returns(ctx: JobContext) -> None:
    """The others are to the left and right of it."""


def forks(ctx: JobContext) -> int:
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    return child


def requeues(ctx: JobContext) -> None:
    if ctx.attempt == 1:
        os.system(f"scontrol requeue {ctx.job_id}")  # noqa: S605 - an id
        time.sleep(60)


def raises(ctx: JobContext) -> None:
    raise ValueError("not this one")


def raises_unpicklable(ctx: JobContext) -> None:
    raise Locked


def returns_unpicklable(ctx: JobContext) -> object:
    import _thread

    return _thread.allocate_lock()


def exits(ctx: JobContext) -> None:
    sys.exit(3)


def vanishes(ctx: JobContext) -> None:
    os._exit(4)


def kills_itself(ctx: JobContext) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kills_its_shell(ctx: JobContext) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(20)  # what Slurm loses sight of with its shell (proctrack/linuxproc) lives on
    os._exit(0)


def segfaults(ctx: JobContext) -> None:
    import ctypes

    ctypes.string_at(0)


def cancels_itself(ctx: JobContext) -> None:
    os.system(f"scancel {ctx.job_id}")  # noqa: S605 - an id
    time.sleep(60)


KINDS: dict[str, Callable[[JobContext], object]] = {
    kind.__name__: kind
    for kind in (
        *(returns, forks, requeues, raises, raises_unpicklable, returns_unpicklable, exits),
        *(vanishes, kills_itself, kills_its_shell, segfaults, cancels_itself),
    )
}
LENIENT = list(KINDS)[:7]
"""Those that leave the process alone, so that other calls of their element go on."""


class Map(NamedTuple):
    """What one map calls: the kind of each call."""

    name: str
    kinds: list[str]
    chunk: int


def maps(seed: int) -> list[Map]:
    chance = random.Random(seed)  # noqa: S311 - to be the same again
    singles = [Map(f"singles_{n}", chance.choices(list(KINDS), k=SINGLES // 4), 1) for n in range(4)]
    return [*singles, Map("chunked", chance.choices(LENIENT, k=CHUNKED * CHUNK), CHUNK)]


def act_in(name: str, trace: str) -> Task[..., tuple[str, object]]:
    """The task of one map: it acts as it is told, and says so in a file if it comes to its end."""

    def act(kind: str, ctx: JobContext) -> tuple[str, object]:
        label = f"{name}[{ctx.index}]"
        value = KINDS[kind](ctx)
        with open(trace, "ab", buffering=0) as file:
            file.write(f"{label}\n".encode())
        return label, value

    act.__name__ = name
    return task(act)


def submitted(cluster: Cluster, name: str) -> JobArray[tuple[str, object]] | None:
    """The jobs of a map, from whatever client; None if there was none, or it was killed before it came to sbatch."""
    for array in cluster.jobs(name):
        assert isinstance(array, JobArray)
        if array[0].job_id is not None or not isinstance(array[0].exception(), JobLost):
            return array
    return None


def main(root: str, trace: str, seed: str) -> None:
    """Submit what wasn't yet, and wait for all."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Cluster("slurm", root=root) as cluster:
        arrays = []
        for name, kinds, chunk in maps(int(seed)):
            found = submitted(cluster, name)
            arrays.append(found or act_in(name, trace).map(kinds, chunk_size=chunk))
        wait(arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
