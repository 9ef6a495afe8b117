"""The scheduler for Grid Engine passes the contract of a running scheduler on a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurm.protocol.states import JobState
from slurm.schedulers.base import Dependency, Site
from slurm.schedulers.client import SchedulerClient
from slurm.schedulers.grid_engine import GridEngineScheduler
from slurm.testing.contracts import RunningSchedulerContract
from slurm.transports.local import LocalTransport
from waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.grid_engine import GridEngineTestbed


class TestGridEngine(RunningSchedulerContract):
    @pytest.fixture
    def controller(self, grid_engine: GridEngineTestbed) -> SchedulerClient:
        del grid_engine
        return SchedulerClient(GridEngineScheduler(Site(python="python3", runner="")), LocalTransport())

    @pytest.mark.parametrize(
        ("kind", "status", "runs"),
        [("afterok", 0, True), ("afterok", 1, True), ("afternotok", 0, True), ("afterany", 1, True)],
    )
    def test_dependency_runs_or_cancels_the_dependent(
        self, controller: SchedulerClient, directory: Path, kind: str, status: int, runs: bool
    ) -> None:
        """Grid Engine waits for the end, however it is: the runner compares it with the kind of the dependency."""
        mark = directory / "ended"
        first = self.submit(controller, directory, f'sleep 0.3; touch "{mark}"; exit {status}')
        second = self.submit(controller, directory, f'[ -e "{mark}" ]', after=(Dependency(kind, (first,)),))
        assert (self.ended(controller, second) == {0: JobState.COMPLETED}) is runs

    def test_dependency_on_one_element_ignores_the_others(self, controller: SchedulerClient, directory: Path) -> None:
        """It waits for the whole array."""
        marks = [directory / f"ended-{number}" for number in range(2)]
        first = self.submit(controller, directory, f'sleep 0.$i; touch "{directory}/ended-$i"; exit $i', count=2)
        body = " && ".join(f'[ -e "{mark}" ]' for mark in marks)
        after = (Dependency("afterok", (controller.scheduler.element_id(first, 0),)),)
        assert self.ended(controller, self.submit(controller, directory, body, after=after)) == {0: JobState.COMPLETED}

    def test_aftercorr_pairs_elements(self, controller: SchedulerClient, directory: Path) -> None:
        """An element starts after the same element, while another one still runs."""
        go, mark = directory / "go", directory / "second-0"
        body = f'[ $i = 0 ] || until [ -e "{go}" ]; do sleep 0.05; done'
        first = self.submit(controller, directory, body, count=2)
        after = (Dependency("aftercorr", (first,)),)
        second = self.submit(controller, directory, f'touch "{directory}/second-$i"', count=2, after=after)
        until(mark.exists)
        assert self.states(controller, second)[1] is JobState.PENDING
        go.touch()
        assert self.ended(controller, second) == dict.fromkeys(range(2), JobState.COMPLETED)
