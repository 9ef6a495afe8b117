"""Fixtures of tests on a real Grid Engine. `nox -s grid_engine` runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurm import Cluster
from slurm.schedulers.grid_engine import GridEngineScheduler
from testbed.grid_engine import GridEngineTestbed
from testbed.programs import missing_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def grid_engine_testbed() -> Iterator[GridEngineTestbed]:
    """The Grid Engine that the whole session shares."""
    if reason := missing_root():
        pytest.skip(reason)
    with GridEngineTestbed() as testbed:
        yield testbed


@pytest.fixture
def grid_engine(grid_engine_testbed: GridEngineTestbed, monkeypatch: pytest.MonkeyPatch) -> Iterator[GridEngineTestbed]:
    """Point this process at the shared Grid Engine for one test; jobs that it leaves behind are cancelled."""
    for name, value in grid_engine_testbed.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(GridEngineScheduler, "patience", (0.5, 2.0))  # seconds: nobody else asks this qmaster
    monkeypatch.setattr(GridEngineScheduler, "flush", 2.0)  # this qmaster writes its accounting at once
    yield grid_engine_testbed
    grid_engine_testbed.cancel_all()


@pytest.fixture
def sge(grid_engine: GridEngineTestbed, root: Path) -> Iterator[Cluster]:
    """A cluster on it, active."""
    del grid_engine
    with Cluster("sge", root=root) as cluster:
        yield cluster
