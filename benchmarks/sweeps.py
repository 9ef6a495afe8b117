"""Sweeps of many points: submit them, and find what is missing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from common import judged
from record_tasks import known

from slurm import Cluster
from slurm.sweeps import State, Sweep, grid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Row, Settings

POINTS, CHUNK = 100_000, 500
MOST_SUBMIT, MOST_MISSING, MOST_FILES = 1.5, 2.0, 12
MOST_TICK, MOST_TABLE, MOST_DONE, MOST_REPORTS = 0.1, 2.0, 1000, 4.0


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    sweeps, root = settings.workspace / "sweeps", settings.workspace / "swept"
    (name,) = known.signature.parameters
    space = grid(**{name: range(POINTS)})
    with Cluster("local", root=root) as cluster:
        known.with_options(reuse=None).map(range(1)).results(60)  # the first look, and the scheduler, are there
        before, begin = cluster.command_counts()["submit"], time.process_time()
        sweep = Sweep(known, space, name="many", directory=sweeps).run(on=(cluster, 2), chunk=CHUNK)
        seconds = time.process_time() - begin
        submitted = cluster.command_counts()["submit"] - before
        files = _files(sweeps) + len(list(Path(sweep.points[0].job.directory).glob("*.*")))
        yield judged(
            f"{POINTS:,} points submitted, {CHUNK} in an element, enumerated included, on `local`",
            f"{seconds:.2f} s CPU, {submitted} submission, {files} files",
            budget=f"≤ {MOST_SUBMIT:g} s CPU, 1 submission, ≤ {MOST_FILES} files",
            kept=seconds <= MOST_SUBMIT and submitted == 1 and files <= MOST_FILES,
        )
        sweep.drive()
        files = _files(sweeps)
        yield judged(
            f"files of a sweep of {POINTS:,} points that are done",
            f"{files} files",
            budget=f"≤ {MOST_DONE:,} files",
            kept=files <= MOST_DONE,
        )
        for what, collected in (("collected", True), ("at the source", False)):
            if not collected:
                for file in (sweeps / "many" / "collected").iterdir():
                    file.unlink()
            begin = time.process_time()
            opened = Sweep.open("many", directory=sweeps)
            assert opened.snapshot().counts == {State.DONE: POINTS}
            seconds = time.process_time() - begin
            yield judged(
                f"what is missing of {POINTS:,} points that are done, all outcomes {what}",
                f"{seconds:.2f} s CPU",
                budget=f"≤ {MOST_MISSING:g} s CPU",
                kept=seconds <= MOST_MISSING,
            )
            if collected:
                yield from _views(opened, settings.workspace / "table.csv")


def _views(opened: Sweep, path: Path) -> Iterator[Row]:
    """What shows a sweep that another process has opened."""
    for what, most, show in (
        ("another status, a tick of `watch`", MOST_TICK, opened.status),
        ("the table as CSV", MOST_TABLE, lambda: opened.table().to_csv(path)),
        ("the three reports", MOST_REPORTS, opened.report),
    ):
        begin = time.process_time()
        show()
        seconds = time.process_time() - begin
        yield judged(
            f"{what}, of {POINTS:,} points", f"{seconds:.2f} s CPU", budget=f"≤ {most:g} s CPU", kept=seconds <= most
        )


def _files(directory: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(directory))
