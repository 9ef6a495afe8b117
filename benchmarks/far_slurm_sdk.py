"""What far.py does, done by slurm-sdk: run by a Python that has it, so it imports nothing of this project."""

from __future__ import annotations

import json
import sys
import time

from slurm.cluster import Cluster
from slurm.decorators import task


@task(time="00:05:00")
def nothing(_: object = None) -> None:
    """Do nothing."""


def main(user: str, port: str, key: str, count: str, jobs: str) -> None:
    """Print the seconds of a first and a later submission, of a map, and of fetching its results once it has ended."""
    begin = time.perf_counter()
    times = []

    def lap() -> None:
        nonlocal begin
        times.append(time.perf_counter() - begin)
        begin = time.perf_counter()

    cluster = Cluster(
        backend_type="ssh",
        hostname="127.0.0.1",
        port=int(port),
        key_filename=key,
        username=user,
        allow_agent=False,
        look_for_keys=False,
        job_base_dir=jobs,
        default_packaging="none",
    )
    with cluster:
        nothing()
        lap()
        nothing()
        lap()
        array = nothing.map(list(range(int(count))))
        lap()
        array.wait()
        begin = time.perf_counter()
        array.get_results()
        lap()
    print(json.dumps(times))


if __name__ == "__main__":
    main(*sys.argv[1:])
