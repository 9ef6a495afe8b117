"""A million calls of nothing, folded into few elements: how many a second, end to end, and what the client needs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from common import judged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Row, Settings

CALLS, ELEMENTS, MANY = 1_000_000, 8, 100_000
_PER_SECOND, _MEGABYTES = 50_000, 150

# Memory is that of a process of its own: what the largest resident set has grown by since the import.
_PROGRAM = """\
import operator, sys, time
from peak_memory import peak
from slurm import Cluster, task
from slurm.jobs import executor, submit
count, chunk, root = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
with Cluster("local", root=root):
    task(operator.neg)(1).result(60)
    before, begin = peak(), time.perf_counter()
    results = task(operator.neg).map(range(count), chunk_size=chunk).results(600)
    seconds = time.perf_counter() - begin
assert results == [-x for x in range(count)]
print(seconds, peak() - before)
"""


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    seconds, _ = _run(settings, CALLS, CALLS // ELEMENTS)
    rate = CALLS / seconds
    yield judged(
        f"a million no-op calls in {ELEMENTS} elements, on `local`, to all results in hand",
        f"{rate:,.0f} calls/s",
        budget=f"≥ {_PER_SECOND:,} calls/s",
        kept=rate >= _PER_SECOND,
    )
    _, megabytes = _run(settings, MANY, MANY // ELEMENTS)
    yield judged(
        f"the client's memory for a map of {MANY:,} calls",
        f"{megabytes:.0f} MB over import",
        budget=f"≤ {_MEGABYTES} MB",
        kept=megabytes <= _MEGABYTES,
    )


def _run(settings: Settings, count: int, chunk: int) -> tuple[float, float]:
    argv = [sys.executable, "-c", _PROGRAM, str(count), str(chunk), str(settings.workspace / "chunks")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes
