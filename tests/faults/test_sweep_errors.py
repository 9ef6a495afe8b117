"""Points of a sweep that fail in different ways on a real cluster, and what is said about them."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import TYPE_CHECKING

import pytest

from slurm import task
from slurm.protocol.states import JobState
from slurm.sweeps import Sweep

if TYPE_CHECKING:
    from pathlib import Path

    from faults.conftest import Start

pytestmark = pytest.mark.slurm

HERE = "simulate (test_sweep_errors.py)"


@task(mem="100M", time="1")
def simulate(n: int, fault: str) -> int:
    if fault == "import":
        path = f"/opt/of-{n}/solver.so"
        spec = importlib.util.spec_from_file_location("solver", path)
        assert spec
        importlib.util.module_from_spec(spec)
    if fault == "memory":
        return len(b"\1" * (300 << 20))
    if fault == "exit":
        sys.exit(3)
    while fault == "time":
        time.sleep(1)
    return n


def test_ten_points_that_fail_in_four_ways_are_four_groups(start: Start, root: Path, tmp_path: Path) -> None:
    start(memory_limits=True, speedup=20)  # a minute of this cluster's clock passes in three seconds
    faults = [*["import"] * 4, *["memory"] * 2, "time", "exit", "", ""]
    points = [{"n": n, "fault": fault} for n, fault in enumerate(faults)]
    sweep = Sweep(simulate, points, directory=tmp_path, name="ten").run(on=f"slurm://{root}")
    sweep.drive()
    errors = sweep.errors()
    assert [(group.pattern, group.where, group.points) for group in errors] == [
        ("ImportError: /…: cannot open shared object file: No such file or directory", HERE, (0, 1, 2, 3)),
        ("OUT_OF_MEMORY", "", (4, 5)),
        ("TIMEOUT", "", (6,)),
        ("SystemExit: 3", HERE, (7,)),
    ]
    assert all(group.suggestion for group in errors)
    states = [point.job_state for point in sweep.snapshot().points]
    assert states[3:] == [
        *(JobState.FAILED, JobState.OUT_OF_MEMORY, JobState.OUT_OF_MEMORY, JobState.TIMEOUT, JobState.FAILED),
        *(JobState.COMPLETED, JobState.COMPLETED),
    ]
