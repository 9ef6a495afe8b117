"""Calls of a pool: how long one more takes, and how many a second a map makes, with all results in hand."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from common import judged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Row, Settings

CALLS, SINGLE, WORKERS = 100_000, 200, 8
_MILLISECONDS, _IDLE_SECONDS, _PER_SECOND, _MEGABYTES = 5.0, 0.3, 30_000, 150

# Memory is that of a process of its own: what the largest resident set has grown by since the pool was warm.
_PROGRAM = """\
import operator, statistics, sys, time
from peak_memory import peak
from slurm import Cluster, task
url, root, workers, single, calls = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
def seconds(make):
    begin = time.perf_counter()
    make()
    return time.perf_counter() - begin
with Cluster(url, root=root) as cluster, cluster.pool(workers=workers, cpus_per_task=1, time="10:00") as pool:
    negative = task(operator.neg).on(pool)
    assert negative.map(range(1000)).results(120) == [-x for x in range(1000)]
    warm = statistics.median(seconds(lambda: negative(1).result(60)) for _ in range(single))
    rests = []
    for number in range(5):  # spread over the half second between two looks of the workers
        time.sleep(10 + number / 10)
        rests.append(seconds(lambda: negative(1).result(60)))
    idle = statistics.median(rests)
    before, found = peak(), []
    took = seconds(lambda: found.extend(negative.map(range(calls)).results(300)))
    assert found == [-x for x in range(calls)]
    print(warm, idle, calls / took, peak() - before)
"""


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    numbers = map(str, (WORKERS, SINGLE, CALLS))
    argv = [sys.executable, "-c", _PROGRAM, "local", str(settings.workspace / "pools"), *numbers]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    warm, idle, rate, megabytes = map(float, done.stdout.split())
    yield judged(
        f"one more no-op call in a pool of {WORKERS} workers on `local`, to its result: the median of {SINGLE}",
        f"{1000 * warm:.1f} ms",
        budget=f"≤ {_MILLISECONDS:.0f} ms",
        kept=1000 * warm <= _MILLISECONDS,
    )
    yield judged(
        "the same after 10 s without a call: the median of 5",
        f"{idle:.2f} s",
        budget=f"≤ {_IDLE_SECONDS} s",
        kept=idle <= _IDLE_SECONDS,
    )
    yield judged(
        f"a map of {CALLS:,} no-op calls in that pool, all results in hand",
        f"{rate:,.0f} calls/s",
        budget=f"≥ {_PER_SECOND:,} calls/s",
        kept=rate >= _PER_SECOND,
    )
    yield judged(
        "the client's memory for that map",
        f"{megabytes:.0f} MB",
        budget=f"≤ {_MEGABYTES} MB",
        kept=megabytes <= _MEGABYTES,
    )
