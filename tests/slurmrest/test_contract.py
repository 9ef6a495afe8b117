"""The scheduler for slurmrestd passes the contract suite for schedulers, with a real slurmrestd."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm import Cluster
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report, Site
from slurm.schedulers.client import SchedulerClient
from slurm.schedulers.slurm_rest import SlurmRestScheduler
from slurm.storage.runner_zip import bundle
from slurm.testing.contracts import RunningSchedulerContract
from slurm.transports.local import LocalTransport
from testbed.programs import slurm_release
from testbed.slurmrest import SlurmRestTestbed
from waiting import until

pytestmark = pytest.mark.slurm


class TestSlurmRest(RunningSchedulerContract):
    @pytest.fixture
    def controller(self, slurmrest: SlurmRestTestbed, root: Path) -> SchedulerClient:
        del slurmrest
        place = Cluster("slurmrest", root=root).place
        place.store.put_blob(bundle())
        scheduler = SlurmRestScheduler(Site(python=place.current.python, runner=place.store.blob_path(bundle())))
        return SchedulerClient(scheduler, LocalTransport())

    def test_the_accounting_tells_how_elements_ended(self, controller: SchedulerClient, directory: Path) -> None:
        """Up to v0.0.38, slurmrestd reports a code of 0 for failed jobs, so the code is ignored."""
        if slurm_release() < (21, 8):
            pytest.skip("slurmrestd of 20.11 does not tell how jobs ended")
        array = self.submit(controller, directory, '[ "$i" != 1 ] || exit 3; [ "$i" != 2 ] || kill -9 $$', count=3)
        self.ended(controller, array)
        found: dict[int, Report] = {}

        def reported() -> bool:
            reports = [report for report in controller.history([array, "99999999"]) if report.tasks]
            found.update({report.tasks[0]: report for report in reports if report.tasks and report.state.final})
            return len(found) == 3

        until(reported)
        assert not controller.history_trouble
        assert [found[number].state for number in range(3)] == [JobState.COMPLETED, JobState.FAILED, JobState.FAILED]
        assert found[0].exit_code == 0
        assert found[1].exit_code in (3, None)
        assert found[2].signal in (9, None)
        assert {report.node for report in found.values()} <= {"n1", "n2"}
