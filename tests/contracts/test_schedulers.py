"""The schedulers of this package pass the contracts of commands and of a running scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurm.protocol.states import JobState
from slurm.schedulers.base import Site
from slurm.schedulers.client import SchedulerClient
from slurm.schedulers.grid_engine import GridEngineScheduler
from slurm.schedulers.local import LocalScheduler
from slurm.schedulers.local_queue import wire
from slurm.schedulers.pbs import PBSScheduler
from slurm.schedulers.slurm import SlurmScheduler
from slurm.schedulers.slurm_rest import SlurmRestScheduler
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

# Son of Grid Engine 8.1.9; left out: elements of the XML and lines of qacct that are not read.
_QSTAT = f"""\
<?xml version='1.0'?>
<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/qstat.xsd">
  <queue_info>
    <job_list state="running">
      <JB_job_number>42</JB_job_number>
      <JAT_prio>0.50000</JAT_prio>
      <JB_name>job.sh</JB_name>
      <JB_owner>root</JB_owner>
      <state>r</state>
      <JAT_start_time>2026-11-28T21:54:49</JAT_start_time>
      <queue_name>all.q@vm</queue_name>
      <slots>1</slots>
      <tasks>2</tasks>
    </job_list>
  </queue_info>
  <job_info>
    <job_list state="pending">
      <JB_job_number>42</JB_job_number>
      <JAT_prio>0.00000</JAT_prio>
      <JB_name>job.sh</JB_name>
      <JB_owner>root</JB_owner>
      <state>hqw</state>
      <JB_submission_time>2026-11-28T21:54:49</JB_submission_time>
      <queue_name></queue_name>
      <slots>1</slots>
      <tasks>3-8:1</tasks>
    </job_list>
  </job_info>
</job_info>
<?xml version='1.0'?>
<detailed_job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/detailed_job_info.xsd">
  <djob_info>
    <element>
      <JB_job_number>42</JB_job_number>
      <JB_context>
        <context_list>
          <VA_variable>SLURMTASKS_TAG</VA_variable>
          <VA_value>{KEY}</VA_value>
        </context_list>
      </JB_context>
      <JB_ja_structure>
        <task_id_range>
          <RN_min>1</RN_min>
          <RN_max>8</RN_max>
          <RN_step>1</RN_step>
        </task_id_range>
      </JB_ja_structure>
    </element>
  </djob_info>
</detailed_job_info>
==============================================================
qname        all.q
hostname     vm
owner        root
jobname      job.sh
jobnumber    42
taskid       1
failed       0
exit_status  0
ru_wallclock 4s
category     NONE

end
"""

# The form is that of OpenPBS 22.05; see tests/unit/test_pbs.py.
_ELEMENT = '"42[{}].pbs01":{{"job_state":"{}","Variable_List":{{"SLURMTASKS_TAG":"{}"}}{}}}'
_ELEMENTS = [
    _ELEMENT.format("", "B", KEY, ""),
    _ELEMENT.format(0, "X", KEY, ',"substate":92,"Exit_status":0'),
    _ELEMENT.format(1, "R", KEY, ""),
    *(_ELEMENT.format(task, "Q", KEY, "") for task in range(2, 8)),
]
_JOBS = '{"timestamp":1,"Jobs":{' + ",\n".join(_ELEMENTS) + "}}\n\nend\n"

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


class TestSlurmRestCommands(SchedulerCommandsContract):
    scheduler_class = SlurmRestScheduler
    samples = SchedulerSamples(
        id="42",
        submit_output="42\n",
        status_output=_SQUEUE,
        states=_STATES,
        unknown_state_output=_SQUEUE.replace("RUNNING", "PONDERING"),
        refusal="slurmrestd v0.0.38: Batch job submission failed: Invalid partition name specified\n",
        unknown_id_message="",
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


class TestGridEngineCommands(SchedulerCommandsContract):
    scheduler_class = GridEngineScheduler
    samples = SchedulerSamples(
        id="42",
        submit_output="42\n",
        status_output=_QSTAT,
        states=_STATES,
        unknown_state_output=_QSTAT.replace("<state>r<", "<state>X<"),
        refusal='Unable to run job: Job was rejected because job requests unknown queue "nope"\nExiting.\n',
        unknown_id_message='denied: job "4711" does not exist\n',
    )


class TestPBSCommands(SchedulerCommandsContract):
    scheduler_class = PBSScheduler
    samples = SchedulerSamples(
        id="42[].pbs01",
        submit_output="42[].pbs01\n",
        status_output=_JOBS,
        states=_STATES,
        unknown_state_output=_JOBS.replace('"R"', '"Z"'),
        refusal="qsub: Unknown queue\n",
        unknown_id_message="qstat: Unknown Job Id 42.pbs01\n",
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
