"""Calls on a real Grid Engine. `nox -s grid_engine` runs those of tests/end_to_end there, too."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from slurm import Cluster, JobState, Retry, task, workflow
from slurm.cli.main import slurm as command_line
from slurm.errors import JobCancelled, JobTimedOut, OptionError, SubmissionRefused
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testbed.grid_engine import GridEngineTestbed


@pytest.fixture(autouse=True)
def sge(grid_engine: GridEngineTestbed, root: Path) -> Iterator[Cluster]:
    """A cluster on the shared Grid Engine, active."""
    del grid_engine
    with Cluster("sge", root=root) as cluster:
        yield cluster


@task
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task
def variable(name: str) -> str | None:
    return os.environ.get(name)


@task
def square(number: int) -> int:
    return number * number


@workflow
def sum_of_squares(numbers: list[int]) -> int:
    return sum(square.map(numbers).results())


def test_a_time_limit_ends_a_job() -> None:
    with pytest.raises(JobTimedOut, match="time limit"):
        sleep.with_options(time="0:02")(120).result(120)


def test_a_pending_job_that_is_cancelled_never_runs() -> None:
    held = sleep.with_options(hold=True)(0)
    until(lambda: held.status().state is JobState.PENDING)
    held.cancel()
    with pytest.raises(JobCancelled):
        held.result(60)


def test_a_workflow_submits_from_a_node() -> None:
    assert sum_of_squares([1, 2, 3]).result(120) == 14


def test_a_failed_element_alone_runs_again(tmp_path: Path) -> None:
    @task(retry=Retry(times=1, on=(ValueError,)))
    def once(number: int) -> int:
        mark = tmp_path / str(number)
        if number != 1 and not mark.exists():
            mark.touch()
            raise ValueError(number)
        return number

    assert once.map(range(3)).results(120) == [0, 1, 2]


def test_cpus_are_slots_of_the_parallel_environment() -> None:
    assert variable.with_options(cpus_per_task=2)("NSLOTS").result(60) == "2"


def test_raw_options_are_those_of_qsub() -> None:
    assert variable.with_options(sbatch={"--pe": "smp 3"})("NSLOTS").result(60) == "3"


def test_a_refusal_has_the_words_of_qsub() -> None:
    with pytest.raises(SubmissionRefused, match='unknown queue "nope"') as caught:
        square.with_options(partition="nope")(2)
    assert caught.value.certain


def test_an_option_that_it_cannot_do_is_refused_before_anything_is_queued(grid_engine: GridEngineTestbed) -> None:
    with pytest.raises(OptionError, match=r"gres='gpu:1': Grid Engine .* sbatch=\{\"--l\": \"gpu=1\"\}"):
        square.with_options(gres="gpu:1")(2)
    assert grid_engine.run("qstat") == ""


def test_the_doctor_names_the_version(root: Path) -> None:
    found = CliRunner().invoke(command_line, ["doctor", f"sge://{root}"])
    assert "sge: SGE 8.1.9" in found.output
