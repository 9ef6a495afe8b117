"""What a map costs in files and commands, on the test Slurm: the same, however many calls."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import noop_task
from bare_slurm import counted
from common import judged

from slurm import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Row, Settings

MAP = "files and Slurm commands for `map` over {} calls, until it returns"
WAIT = "controller calls while waiting for 200 jobs"
TICK = 2.0
"""Seconds between the first questions to the controller."""


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    with Cluster("slurm", root=settings.workspace / "counts"):
        noop_task.nothing.map(range(2)).results(60)
        few, many = (_of_map(count, settings.workspace / f"commands-{count}") for count in (10, 1000))
        budget = "one sbatch, and as many files for 1000 as for 10"
        for count, found in ((10, few), (1000, many)):
            yield judged(MAP.format(count), found, budget=budget, kept=few == many and "; 1 sbatch" in found)
        yield _of_waiting(settings.workspace / "commands-waiting")


def _of_map(count: int, directory: Path) -> str:
    with counted(directory) as log:
        array = noop_task.nothing.with_options(hold=True).map(range(count))
        commands = _words(log)
    job = Path(array[0].directory)
    files = sum(path.is_file() for path in job.rglob("*"))
    array.cancel()
    return f"{files} files; {commands}"


def _of_waiting(directory: Path) -> Row:
    with counted(directory) as log:
        array = noop_task.nothing.map(range(200))
        log.write_text("")
        begin = time.monotonic()
        array.results(120)
        waited = time.monotonic() - begin
        asked = len(log.read_text().split())
        measured = f"{_words(log) or 'none'} in {waited:.1f} s"
    return judged(WAIT, measured, budget=f"≤ one each {TICK:g} s", kept=asked <= 1 + waited / TICK)


def _words(log: Path) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(log.read_text().split()).items()))
