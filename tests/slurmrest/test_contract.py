"""The scheduler for slurmrestd passes the contract of a running scheduler on a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm import Cluster
from slurm.schedulers.base import Site
from slurm.schedulers.client import SchedulerClient
from slurm.schedulers.slurm_rest import SlurmRestScheduler
from slurm.storage.runner_zip import bundle
from slurm.testing.contracts import RunningSchedulerContract
from slurm.transports.local import LocalTransport
from testbed.slurmrest import SlurmRestTestbed

pytestmark = pytest.mark.slurm


class TestSlurmRest(RunningSchedulerContract):
    @pytest.fixture
    def controller(self, slurmrest: SlurmRestTestbed, root: Path) -> SchedulerClient:
        del slurmrest
        place = Cluster("slurmrest", root=root).place
        place.store.put_blob(bundle())
        scheduler = SlurmRestScheduler(Site(python=place.current.python, runner=place.store.blob_path(bundle())))
        return SchedulerClient(scheduler, LocalTransport())
