"""The scheduler for PBS passes the contract of a running scheduler on a fake OpenPBS.

tests/end_to_end/test_fake_pbs.py has calls in both dialects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurm.protocol.states import JobState
from slurm.schedulers.base import Dependency, Site
from slurm.schedulers.client import SchedulerClient
from slurm.schedulers.pbs import PBSScheduler
from slurm.testing.contracts import RunningSchedulerContract
from slurm.transports.local import LocalTransport
from waiting import until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("fake_pbs", ["openpbs"], indirect=True)
class TestFakePBS(RunningSchedulerContract):
    unknown_id = "99999999.fake-pbs"

    @pytest.fixture
    def controller(self, fake_pbs: str) -> SchedulerClient:
        del fake_pbs
        return SchedulerClient(PBSScheduler(Site(python="python3", runner="")), LocalTransport())

    def test_dependency_on_one_element_ignores_the_others(self, controller: SchedulerClient, directory: Path) -> None:
        """It waits for the whole array."""
        first = self.submit(controller, directory, f'sleep 0.$i; touch "{directory}/ended-$i"; exit $i', count=2)
        body = " && ".join(f'[ -e "{directory}/ended-{number}" ]' for number in range(2))
        after = (Dependency("afterok", (controller.scheduler.element_id(first, 0),)),)
        assert self.ended(controller, self.submit(controller, directory, body, after=after)) == {0: JobState.COMPLETED}

    def test_a_job_that_the_server_has_forgotten_is_not_waited_for(
        self, controller: SchedulerClient, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE_PBS_HISTORY", "0")
        first = self.submit(controller, directory, "true", count=2)
        until(lambda: not self.states(controller, first))
        alone = (Dependency("afterok", (first,)),)
        self.submit(controller, directory, f'touch "{directory}/second"', after=alone)
        until((directory / "second").exists)
        go = directory / "go"
        third = self.submit(controller, directory, f'until [ -e "{go}" ]; do sleep 0.05; done')
        both = (Dependency("afterany", (first, third)),)
        fourth = self.submit(controller, directory, f'[ -e "{go}" ] && touch "{directory}/fourth"', after=both)
        assert self.states(controller, fourth) == {0: JobState.PENDING}
        go.touch()
        until((directory / "fourth").exists)

    def test_aftercorr_pairs_elements(self, controller: SchedulerClient, directory: Path) -> None:
        """Elements start after all elements of the other array."""
        go = directory / "go"
        first = self.submit(controller, directory, f'[ $i = 0 ] || until [ -e "{go}" ]; do sleep 0.05; done', count=2)
        until(lambda: self.states(controller, first)[0] is JobState.COMPLETED)
        second = self.submit(
            controller, directory, f'[ -e "{go}" ]', count=2, after=(Dependency("aftercorr", (first,)),)
        )
        assert set(self.states(controller, second).values()) == {JobState.PENDING}
        go.touch()
        assert self.ended(controller, second) == dict.fromkeys(range(2), JobState.COMPLETED)
