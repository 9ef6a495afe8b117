"""What a handle shows of its state without asking, and that calls are counted where elements make several."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from slurm import Cluster, task
from slurm.callbacks import Callback, StateEvent
from slurm.callbacks.progress_model import ProgressModel
from slurm.cli.main import slurm
from slurm.errors import SubmissionRefused

if TYPE_CHECKING:
    from pathlib import Path


@task
def invert(x: float) -> float:
    return 1 / x


class States(Callback):
    """Keeps the progress of maps, and the lines of its bars."""

    def __init__(self) -> None:
        self.model = ProgressModel()
        self.events: list[StateEvent] = []

    def on_state(self, event: StateEvent) -> None:
        self.events.append(event)
        self.model.changed(event)


def elsewhere(cluster: Cluster, expression: str) -> str:
    """Evaluate an expression in another process."""
    program = f"from slurm import Cluster; cluster = Cluster({cluster.url!r}); print({expression})"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_a_handle_that_asked_nobody_says_so(local: Cluster) -> None:
    job = invert.on(local)(2)
    assert repr(job).endswith(": submitted>")
    job.result(60)
    assert elsewhere(local, f"cluster.job({job.key!r})").endswith(": not asked>")
    assert elsewhere(local, "[(job.done(), job) for job in cluster.jobs()]").endswith(": ended>)]")
    assert elsewhere(local, "[(job.status().state, job) for job in cluster.jobs()]").endswith(": COMPLETED>)]")


@pytest.mark.slurm
def test_a_refused_one_says_so(slurm_env: object, root: Path) -> None:
    cluster = Cluster("slurm", root=root)
    with pytest.raises(SubmissionRefused):
        invert.on(cluster).with_options(partition="no-such-partition")(1)
    assert elsewhere(cluster, "cluster.jobs()").endswith(": REFUSED>]")


def test_a_listing_shows_the_states_that_it_has_read(local: Cluster) -> None:
    array = invert.on(local).with_options(chunk_size=500).map([0, *range(1, 1000)])
    array.exceptions(60)
    assert array.summary() == "invert: 1000 jobs in 2 chunks, 999 COMPLETED, 1 FAILED"  # which writes a summary
    shown = elsewhere(local, "cluster.jobs()")
    assert shown == f"[<JobArray {array.key} of 1000 in 2 chunks on {local.url}: 999 COMPLETED, 1 FAILED>]"
    assert "1000 in 2 chunks" in CliRunner().invoke(slurm, ["ls", local.url]).stdout
    (facts,) = json.loads(CliRunner().invoke(slurm, ["ls", local.url, "--json"]).stdout)
    assert (facts["count"], facts["elements"]) == (1000, 2)


def test_bars_count_calls(root: Path) -> None:
    states = States()
    with Cluster("local", root=root, callbacks=[states]):
        array = invert.with_options(chunk_size=4).map([1, 2, 0, 3, 4, 5])
        array.exceptions(60)
    (bar,) = states.model.bars
    assert bar.line().startswith("6/6 in 2 chunks, 1 failed, ")
    last: Any = states.events[-1]
    assert (last.states, last.calls) == ({"COMPLETED": 1, "FAILED": 1}, {"COMPLETED": 5, "FAILED": 1})
