"""The REST API of `slurm serve`: how long an answer takes, with many jobs, and against the command line."""

from __future__ import annotations

from importlib.util import find_spec
from statistics import median
from typing import TYPE_CHECKING

import noop_task
from common import PASS, Row, in_turns, judged, process, timed, unmeasured

from slurm import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Settings

    from served import Client

SUBMISSIONS, CALLS = 200, 10_000
BUDGET = 1.0
WHAT = f"REST, {SUBMISSIONS} submissions and one of {CALLS:,} calls, on `local`"
NEEDED = ("starlette", "uvicorn", "sse_starlette")


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    if lacking := [name for name in NEEDED if not find_spec(name)]:
        yield unmeasured(WHAT, f"not installed: {', '.join(lacking)}")
        return
    from served import served  # noqa: PLC0415 - it imports the extra, which was checked above

    root = settings.workspace / "rest"
    with Cluster("local", root=root) as cluster:
        large = noop_task.nothing.map(range(CALLS), chunk_size=CALLS // 8)
        with cluster.batch():
            few = [noop_task.nothing() for _ in range(8)]
        for job in few:
            job.result(60)
        large.results(120)
        for _ in range(SUBMISSIONS):
            last = noop_task.nothing.with_options(hold=True)()
        with served(cluster) as client:
            yield from _answers(client, settings, large.key, f"local://{root}")
        del last


def _answers(client: Client, settings: Settings, key: str, url: str) -> Iterator[Row]:
    paths = {
        "a list of 20": "/jobs?limit=20",
        "one submission": f"/jobs/{key}",
        "its calls": f"/jobs/{key}/calls?limit=50",
    }
    subjects = {name: lambda path=path: timed(lambda: client.get(path)) for name, path in paths.items()}
    command = "the same list by `slurm jobs`"
    subjects[command] = process([*PASS[:-2], "-m", "slurm", "jobs", url, "--limit", "20"])
    times = in_turns(subjects, settings.rounds)
    for name in paths:
        spread = f"{1000 * median(times[name]):.0f} ms ({1000 * min(times[name]):.0f} to {1000 * max(times[name]):.0f})"
        kept = median(times[name]) <= BUDGET
        yield judged(f"{WHAT}: {name}", spread, budget=f"≤ {BUDGET:g} s", kept=kept)
    yield Row(f"{WHAT}: {command}", f"{1000 * median(times[command]):.0f} ms")
