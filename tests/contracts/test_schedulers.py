"""The schedulers of this package pass the contracts of commands and of a running scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurm.protocol.states import JobState
from slurm.schedulers.base import Site
from slurm.schedulers.client import SchedulerClient
from slurm.schedulers.local import LocalScheduler
from slurm.schedulers.local_queue import wire
from slurm.schedulers.slurm import SlurmScheduler
from slurm.storage.runner_zip import bundle
from slurm.testing.contracts import KEY, RunningSchedulerContract, SchedulerCommandsContract, SchedulerSamples
from slurm.transports.local import LocalTransport

if TYPE_CHECKING:
    from slurm import Cluster
    from testbed import SlurmTestbed

_SQUEUE = f"""\
1000
ARRAY_JOB_ID|ARRAY_TASK_ID|STATE|NODELIST|USER|SUBMIT_TIME|REASON|COMMAND|COMMENT
42|2-7%3|PENDING||1000|1795776130|JobArrayTaskLimit|/r/jobs/{KEY}/script.sh|{KEY}
42|0|COMPLETED|n1|1000|1795776130|None|/r/jobs/{KEY}/script.sh|{KEY}
42|1|RUNNING|n1|1000|1795776130|None|/r/jobs/{KEY}/script.sh|{KEY}
""".replace("|", "\x1f")

_LISTING = f"""\
name=0123456789abcdef boot=17-22 host=box
42|2-7|PENDING|||{KEY}
42|0|COMPLETED|box||{KEY}
42|1|RUNNING|box||{KEY}
""".replace("|", "\x1f")

_STATES = {0: JobState.COMPLETED, 1: JobState.RUNNING, **dict.fromkeys(range(2, 8), JobState.PENDING)}


class TestSlurmCommands(SchedulerCommandsContract):
    scheduler_class = SlurmScheduler
    samples = SchedulerSamples(
        id="42;big",
        submit_output="42;big\n",
        status_output=_SQUEUE,
        states=_STATES,
        unknown_state_output=_SQUEUE.replace("RUNNING", "PONDERING"),
        refusal="sbatch: error: Batch job submission failed: Invalid partition name specified\n",
        unknown_id_message="slurm_load_jobs error: Invalid job id specified\n",
    )


class TestLocalCommands(SchedulerCommandsContract):
    scheduler_class = LocalScheduler
    samples = SchedulerSamples(
        id="42",
        submit_output="42\n",
        status_output=_LISTING,
        states=_STATES,
        unknown_state_output=_LISTING.replace("RUNNING", "PONDERING"),
        refusal=f"{wire.REFUSED}there is no script /r/script.sh\n",
        unknown_id_message="",
    )


class TestLocal(RunningSchedulerContract):
    @pytest.fixture
    def controller(self, local: Cluster) -> SchedulerClient:
        place = local.place
        place.store.put_blob(bundle())
        scheduler = LocalScheduler(Site(python=place.current.python, runner=place.store.blob_path(bundle())))
        return SchedulerClient(scheduler, LocalTransport())


@pytest.mark.slurm
class TestSlurm(RunningSchedulerContract):
    @pytest.fixture
    def controller(self, slurm_env: SlurmTestbed) -> SchedulerClient:
        return SchedulerClient(SlurmScheduler(Site(python="python3", runner="")), LocalTransport())
