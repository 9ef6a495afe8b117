"""The inline scheduler and transport pass the contracts of their seams."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from contracts.test_transports import TransportContract
from slurm.protocol.states import JobState
from slurm.schedulers.base import Site
from slurm.schedulers.client import SchedulerClient
from slurm.testing.contracts import KEY, RunningSchedulerContract, SchedulerCommandsContract, SchedulerSamples
from slurm.testing.inline.scheduler import InlineScheduler
from slurm.testing.inline.transport import InlineTransport
from slurm.url import ClusterURL

if TYPE_CHECKING:
    from slurm.transports.base import Transport

_STATES = {0: JobState.COMPLETED, 1: JobState.RUNNING}
_STATUS = "".join(
    json.dumps(
        {"id": "42", "tasks": [task], "word": state.value, "node": "box", "reason": "", "exit_code": None,
         "dependency_failed": False, "comment": KEY, "script": f"/r/jobs/{KEY}/script.sh"}
    ) + "\n"
    for task, state in _STATES.items()
) + "end\n"  # fmt: skip


class TestInlineCommands(SchedulerCommandsContract):
    scheduler_class = InlineScheduler
    samples = SchedulerSamples(
        id="42",
        submit_output="42\n",
        status_output=_STATUS,
        states=_STATES,
        unknown_state_output=_STATUS.replace("RUNNING", "PONDERING"),
        refusal="slurm-inline: refused: there is no script /r/script.sh\n",
        unknown_id_message="",
    )


class TestInlineScheduler(RunningSchedulerContract):
    @pytest.fixture
    def controller(self) -> SchedulerClient:
        return SchedulerClient(InlineScheduler(Site(python=sys.executable, runner="")), InlineTransport())


class TestInlineTransport(TransportContract):
    @pytest.fixture
    def transport(self) -> Transport:
        return InlineTransport.from_url(ClusterURL.parse("inline"))
