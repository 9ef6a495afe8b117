"""On a file system that caches for 10 s, as NFS does: how soon a result and a retry are seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from statistics import median
from typing import TYPE_CHECKING

from common import judged, unmeasured

from testbed import SlurmTestbed
from testbed.caches import CachedFiles, cannot_mount, missing_caches
from testbed.programs import without_slurm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Row, Settings

SECONDS = 10
RESULT_BUDGET, RETRY_BUDGET = 1.5, 5.0
RESULT = f"a result in hand after the end of its call, on files that are cached for {SECONDS} s"
RETRY = f"a retried call in hand after the end of its first attempt, on files that are cached for {SECONDS} s"

PROGRAM = """
import json, sys, time
from slurm import Cluster, JobContext, Retry, task

@task
def end():
    return time.time()

@task(retry=Retry(times=1, on=ValueError))
def flaky(ctx: JobContext, marks):
    if ctx.attempt == 1:
        with open(marks, "w") as file:
            file.write(str(time.time()))
        raise ValueError
    return float(open(marks).read())

root, marks, count = sys.argv[1:]
found = {"result": [], "retry": []}
with Cluster("slurm", root=root):
    for number in range(int(count)):
        for name, call in (("result", end), ("retry", lambda: flaky(marks=f"{marks}-{number}"))):
            ended = call().result(300)
            found[name].append(time.time() - ended)
print(json.dumps(found))
"""


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    if lacking := cannot_mount() or missing_caches():
        yield unmeasured(RESULT, lacking)
        yield unmeasured(RETRY, lacking)
        return
    program, marks = settings.workspace / "cached.py", settings.workspace / "cached-marks"
    program.write_text(PROGRAM)
    with CachedFiles(SECONDS) as files, SlurmTestbed(node_command=files.on_nodes) as testbed:
        argv = [*files.on_client, sys.executable, program, files.directory / "jobs", marks, settings.calls]
        done = subprocess.run(
            list(map(str, argv)),
            env={**without_slurm(os.environ), **testbed.env},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    times = json.loads(done.stdout.splitlines()[-1])
    for what, name, budget in ((RESULT, "result", RESULT_BUDGET), (RETRY, "retry", RETRY_BUDGET)):
        seconds = times[name]
        words = f"{median(seconds):.2f} s; {min(seconds):.2f} to {max(seconds):.2f}"
        yield judged(what, words, budget=f"≤ {budget:g} s", kept=max(seconds) <= budget)
