"""Spaces of parameters: 100 000 points are enumerated, identified, and compared with each other."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median
from typing import TYPE_CHECKING

from common import judged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Row, Settings

MOST_SECONDS, MOST_MEGABYTES = 1.5, 150
_PLAN = """\
import json, time
from peak_memory import peak
from slurm.spaces import grid, identity
from slurm.sweeps.points import points_of
space = grid(lr=[i * 1e-5 for i in range(100)], depth=range(100), data=["a", "b"], seed=range(5))
before, begin = peak(), time.process_time()
found = points_of(space, most=1_000_000)
seconds, megabytes, params = time.process_time() - begin, peak() - before, list(space)
begin = time.process_time()
digests = {identity(each) for each in params}
print(json.dumps([seconds, time.process_time() - begin, megabytes]))
assert digests == set(found) and len(found) == 100_000
"""


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    found = []
    for _ in range(settings.arrays):
        done = subprocess.run([sys.executable, "-c", _PLAN], stdout=subprocess.PIPE, text=True, check=True)
        found.append(json.loads(done.stdout))
    plan, identities, megabytes = (median(each) for each in zip(*found, strict=True))
    yield judged(
        "100,000 points of a space enumerated, identified and compared; their identities alone",
        f"{plan:.2f} s CPU, {megabytes:.0f} MB over import; {identities:.2f} s CPU",
        budget=f"≤ {MOST_SECONDS:g} s CPU, ≤ {MOST_MEGABYTES} MB",
        kept=plan <= MOST_SECONDS and megabytes <= MOST_MEGABYTES,
    )
