"""Measures one tool for peers.py, program_peers.py and scale.py. It runs in a Python where this tool is installed.

The other tools run without this project. It is one of the tools, too: all are measured by the same program.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).parent / "installed"))

from peak_memory import peak

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Map = Callable[[Callable[..., object], Sequence[int]], Sequence[object]]

ROUNDS = 5
PROGRAM = ["bash", "-c", "echo > out"]
JOBS, PROCESSES = 2, 4
"""How many jobs the tool may have, and how many processes in each: all that the test Slurm has."""


@contextmanager
def elements(folder: str) -> Iterator[Map]:
    """Arrays of this library: a map has as many elements as the others have processes."""
    from slurm import Cluster, task  # noqa: PLC0415

    with Cluster("slurm", root=f"{folder}/jobs"):

        def run(function: Callable[..., object], items: Sequence[int]) -> Sequence[object]:
            chunk = max(1, len(items) // (JOBS * PROCESSES))
            return task(function).map(items, chunk_size=chunk).results(_AT_MOST)

        yield run


@contextmanager
def pool(folder: str) -> Iterator[Map]:
    """A pool of this library: as many workers as the others have processes."""
    from slurm import Cluster, task  # noqa: PLC0415

    with (
        Cluster("slurm", root=f"{folder}/jobs") as cluster,
        cluster.pool(workers=JOBS * PROCESSES, cpus_per_task=1, time="30:00") as workers,
    ):
        yield lambda function, items: task(function).on(workers).map(items).results(_AT_MOST)


@contextmanager
def submitit(folder: str) -> Iterator[Map]:
    """AutoExecutor of submitit: a job for each call."""
    from submitit import AutoExecutor  # noqa: PLC0415

    executor = AutoExecutor(folder, cluster="slurm")
    yield lambda function, items: [job.result() for job in executor.map_array(function, items)]


@contextmanager
def dask(folder: str) -> Iterator[Map]:
    """dask-jobqueue: a job is a worker of dask's, with a nanny for each process."""
    from dask_jobqueue import SLURMCluster  # noqa: PLC0415 - only one of the tools need be there
    from distributed import Client  # noqa: PLC0415

    cluster = SLURMCluster(
        cores=PROCESSES,
        processes=PROCESSES,
        memory="1GB",
        job_directives_skip=["--mem"],
        interface="lo",
        log_directory=folder,
        local_directory=folder,
        walltime="00:30:00",
        scheduler_options={"dashboard_address": None},
    )
    with cluster, Client(cluster) as client:
        cluster.scale(jobs=JOBS)
        yield lambda function, items: client.gather(client.map(function, items, pure=False))


@contextmanager
def parsl(folder: str) -> Iterator[Map]:
    """Parsl's HighThroughputExecutor: a job is a manager with its processes."""
    import parsl as tool  # noqa: PLC0415
    from parsl.executors import HighThroughputExecutor  # noqa: PLC0415
    from parsl.providers import SlurmProvider  # noqa: PLC0415

    provider = SlurmProvider(
        init_blocks=JOBS,
        min_blocks=JOBS,
        max_blocks=JOBS,
        cores_per_node=PROCESSES,
        exclusive=False,
        walltime="00:30:00",
    )
    executor = HighThroughputExecutor(
        provider=provider, address="127.0.0.1", max_workers_per_node=PROCESSES, cores_per_worker=1, encrypted=False
    )
    with tool.load(tool.Config(executors=[executor], run_dir=folder, strategy="none", usage_tracking=0)):
        apps: dict[Any, Any] = {}

        def run(function: Callable[..., object], items: Sequence[int]) -> Sequence[object]:
            app = apps.setdefault(function, tool.python_app(function))
            return [future.result() for future in [app(item) for item in items]]

        yield run


@contextmanager
def executorlib(_: str) -> Iterator[Map]:
    """SlurmClusterExecutor of executorlib with block allocation: a job for each process, which all calls share."""
    from executorlib import SlurmClusterExecutor  # noqa: PLC0415

    with SlurmClusterExecutor(
        max_workers=JOBS * PROCESSES,
        block_allocation=True,
        hostname_localhost=True,
        resource_dict={"cores": 1, "partition": "debug"},
    ) as executor:
        yield lambda function, items: [future.result() for future in [executor.submit(function, i) for i in items]]


@contextmanager
def submitit_command(folder: str) -> Iterator[Map]:
    """CommandFunction of submitit: a process for each program, all of a batch at once, on this machine."""
    from submitit import LocalExecutor  # noqa: PLC0415
    from submitit.helpers import CommandFunction  # noqa: PLC0415

    executor = LocalExecutor(folder)

    def run(_: Callable[..., object], items: Sequence[int]) -> Sequence[object]:
        with executor.batch():
            jobs = [executor.submit(CommandFunction(PROGRAM, verbose=False, cwd=mkdtemp(dir=folder))) for _ in items]
        return [job.result() for job in jobs]

    yield run


@contextmanager
def parsl_bash(folder: str) -> Iterator[Map]:
    """bash_app of Parsl: two processes on this machine, which all programs share."""
    import parsl as tool  # noqa: PLC0415
    from parsl.executors import HighThroughputExecutor  # noqa: PLC0415
    from parsl.providers import LocalProvider  # noqa: PLC0415

    executor = HighThroughputExecutor(
        provider=LocalProvider(init_blocks=1, max_blocks=1),
        address="127.0.0.1",
        max_workers_per_node=2,
        encrypted=False,
    )
    with tool.load(tool.Config(executors=[executor], run_dir=folder, strategy="none", usage_tracking=0)):

        @tool.bash_app  # type: ignore[untyped-decorator]
        def program(directory: str) -> str:
            return f"cd {directory} && echo > out"

        def run(_: Callable[..., object], items: Sequence[int]) -> Sequence[object]:
            return [future.result() for future in [program(mkdtemp(dir=folder)) for _ in items]]

        yield run


@contextmanager
def executorlib_cache(folder: str) -> Iterator[Map]:
    """The cache of executorlib: two processes on this machine, and a file for each call."""
    from executorlib import SingleNodeExecutor  # noqa: PLC0415

    with SingleNodeExecutor(max_workers=2, cache_directory=f"{folder}/cache", block_allocation=True) as executor:
        yield lambda function, items: [future.result() for future in [executor.submit(function, i) for i in items]]


def nothing(_: int) -> None:
    """Do nothing."""


def several(count: int) -> Sequence[None]:
    """Do nothing, `count` times: a chunk of calls, as users of tools without chunks write it."""

    def one(_: int) -> None:
        pass

    return [one(number) for number in range(count)]


def end(seconds: float) -> float:
    """Sleep for a while; return the time of the end."""
    import time  # noqa: PLC0415 - the function is sent without its module

    time.sleep(seconds)
    return time.time()


_AT_MOST = 300
TOOLS = {
    "slurm-tasks": elements,
    "slurm-tasks-pool": pool,
    "submitit": submitit,
    "dask-jobqueue": dask,
    "parsl": parsl,
    "executorlib": executorlib,
    "submitit-command": submitit_command,
    "parsl-bash": parsl_bash,
    "executorlib-cache": executorlib_cache,
}


def main(tool: str, folder: str, count: str, how: str = "") -> None:
    """Print the seconds of a first map, with all that the tool has to start, of a second map, and of one more call.

    Also print the largest memory of this process, in megabytes. `how` is "single" or "chunked" if only the first map is
    wanted, and "by-hand" if each of its calls makes a chunk. If `count` is "lag", print instead how long each of some
    results took from the end of its call until it was here.
    """
    begin = time.perf_counter()
    with TOOLS[tool](folder) as run:
        if count == "lag":
            print(json.dumps(_lags(run)))
            return
        if how:
            if how == "by-hand":
                workers = JOBS * PROCESSES
                made = sum(map(len, run(several, [int(count) // workers] * workers)))  # type: ignore[arg-type]
            else:
                made = len(run(nothing, range(int(count))))
            assert made == int(count)
            print(json.dumps([time.perf_counter() - begin, peak()]))
            return
        times = []
        for items in (range(int(count)), range(int(count)), range(1)):
            run(nothing, items)
            times.append(time.perf_counter() - begin)
            begin = time.perf_counter()
    print(json.dumps([*times, peak()]))


def _lags(run: Map) -> Sequence[float]:
    """Return the seconds from the end of a call until its result has arrived, for calls of different lengths."""
    run(nothing, range(1))
    lags = []
    for number in range(ROUNDS):
        (ended,) = run(end, [1 + number * 0.618 % 1])  # type: ignore[list-item] # calls end at different parts of a second
        lags.append(time.time() - ended)  # type: ignore[operator]
    return lags


if __name__ == "__main__":
    main(*sys.argv[1:])
