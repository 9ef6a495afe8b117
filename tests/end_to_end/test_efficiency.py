"""`slurm efficiency`: what was asked for against what was used."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from click.testing import CliRunner

from slurm import Cluster, task
from slurm.cli.main import slurm
from slurm.protocol.outcomes import Outcome
from slurm.views.efficiency import fitting, uses


@task(time="10", mem="200M", cpus_per_task=2)
def busy(megabytes: int) -> int:
    """Use memory, and one CPU for half a second."""
    data = bytearray(megabytes << 20)
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
    return len(data)


def test_what_was_used_is_compared_with_what_was_asked_for(cluster: Cluster) -> None:
    jobs = busy.map([1, 60])
    assert jobs.results(90) == [1 << 20, 60 << 20]
    done = CliRunner().invoke(slurm, ["efficiency", "last", "--on", cluster.url, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    memory, seconds, cpus = found["uses"]
    assert (memory["resource"], memory["asked"]) == ("memory", 200 << 20)
    assert 60 << 20 < memory["most"] < 150 << 20
    assert memory["most"] - memory["least"] > 40 << 20
    assert (seconds["asked"], seconds["most"] >= 0.5) == (600, True)
    assert cpus["asked"] == 2
    assert 0 < cpus["most"] < 1.6
    assert found["options"]["mem"] in ("100M", "200M")
    shown = CliRunner().invoke(slurm, ["efficiency", jobs.key, "--on", cluster.url]).output.splitlines()
    assert [line.split()[0] for line in shown] == ["ASKED", "memory", "time", "cpus", "fits:"]
    assert shown[-1].startswith("fits: @task(mem='")


def outcome(**fields: Any) -> Outcome:
    return Outcome(status="succeeded", phase="save", started=100.0, **fields)


@pytest.mark.parametrize(
    ("fields", "options", "fits"),
    [
        ({"ended": 130.0, "peak_memory": 90 << 20, "cpu_seconds": 20.0}, {}, {"mem": "200M", "time": "0:01:00"}),
        (
            {"ended": 100.0 + 3600, "peak_memory": 3 << 30, "cpu_seconds": 4 * 3600.0},
            {"mem": "8G", "time": "2:00:00", "cpus_per_task": 4},
            {"mem": "3900M", "time": "1:15:00", "cpus_per_task": 4},
        ),
        ({"ended": 130.0}, {"mem": "0"}, {"time": "0:01:00"}),
        ({}, {}, {}),
    ],
)
def test_the_options_that_fit_have_some_room(
    fields: dict[str, Any], options: dict[str, Any], fits: dict[str, Any]
) -> None:
    assert fitting(uses([outcome(**fields)], options)) == fits


def test_a_job_that_runs_says_that_nothing_is_known(local: Cluster) -> None:
    job = busy.with_options(begin="now+1hour")(1)
    done = CliRunner().invoke(slurm, ["efficiency", job.key, "--on", local.url])
    assert (done.exit_code, "no call has ended yet" in done.output) == (0, True)
    job.cancel()
