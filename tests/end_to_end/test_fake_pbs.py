"""Calls on a fake PBS, in both dialects. No test here says that a real PBS has run anything."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from slurm import Cluster, JobState, Retry, current_job, task, workflow
from slurm.cli.main import slurm as command_line
from slurm.errors import DependencyFailed, JobCancelled, JobTimedOut, OptionError, SubmissionRefused
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def pbs(fake_pbs: str, root: Path) -> Iterator[Cluster]:
    """A cluster on the fake PBS, active."""
    del fake_pbs
    with Cluster("pbs", root=root) as cluster:
        yield cluster


@task
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task
def variables(*names: str) -> list[str | None]:
    return [os.environ.get(name) for name in names]


@task
def reciprocal(number: int) -> float:
    return 1 / number


@workflow
def sum_of_reciprocals(numbers: list[int]) -> float:
    return sum(reciprocal.map(numbers).results())


def test_calls_maps_and_what_depends_on_them(tmp_path: Path) -> None:
    @task(retry=Retry(times=1, on=(ValueError,)))
    def second_time(number: int) -> int:
        mark = tmp_path / str(number)
        if number != 1 and not mark.exists():
            mark.touch()
            raise ValueError(number)
        return number

    again = second_time.map(range(3))
    inverse = reciprocal.map([0, 1, 2])
    twice = reciprocal.map(inverse)
    assert again.results(120) == [0, 1, 2]
    assert [job.result(120) for job in list(twice)[1:]] == [1.0, 2.0]
    with pytest.raises(DependencyFailed):
        twice[0].result(120)
    with pytest.raises(ZeroDivisionError):
        inverse[0].result(120)
    assert sum_of_reciprocals([1, 2]).result(120) == 1.5


def test_a_job_has_the_clients_variables_and_the_schedulers(fake_pbs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREETING", 'it\'s "a"\n#PBS -q nope')
    monkeypatch.setenv("TMPDIR", "/nowhere")
    given, directory, cpus, name, number = variables.with_options(cpus_per_task=2)(
        "GREETING", "TMPDIR", "SLURM_CPUS_ON_NODE", "PBS_JOBNAME", "PBS_JOBID"
    ).result(60)
    assert (given, cpus, name) == ('it\'s "a"\n#PBS -q nope', "2", "variables")
    assert Path(str(directory)).parent == Path(os.environ["FAKE_PBS_HOME"])
    assert str(number).endswith(".fake-pbs")
    listed = Path(os.environ["FAKE_PBS_HOME"], "jobs.json").read_text()
    assert not [job for job in json.loads(listed).values() if "GREETING" in job["variables"]]


def test_setup_and_task_begin_where_the_call_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("setup.sh").write_text("export FROM_SETUP=yes\n")
    here = variables.with_options(setup=["source ./setup.sh"])("FROM_SETUP", "PWD")
    assert here.result(60) == ["yes", str(tmp_path)]


def test_limits_cancelling_and_refusals() -> None:
    late = sleep.with_options(time="0:01")(120)
    held = sleep.with_options(hold=True)(0)
    with pytest.raises(SubmissionRefused, match="Unknown queue") as caught:
        reciprocal.with_options(partition="nope")(2)
    assert caught.value.certain
    with pytest.raises(OptionError, match=r"reservation='r': PBS .* sbatch=\{\"--l\": \"place=excl\"\}"):
        reciprocal.with_options(reservation="r")(2)
    until(lambda: held.status().state is JobState.PENDING)
    held.cancel()
    with pytest.raises(JobCancelled):
        held.result(60)
    with pytest.raises(JobTimedOut, match="time limit"):
        late.result(120)


@task(time="00:10:00", signal_lead=597, max_restarts=1)
def twice() -> int:
    context = current_job()
    if context.restored is None:
        until(lambda: context.should_stop)
        context.checkpoint(1)
    return context.attempt


def test_a_task_that_is_warned_continues_from_its_checkpoint() -> None:
    assert twice().result(120) == 2


def test_the_doctor_names_version_and_memory(fake_pbs: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = CliRunner().invoke(command_line, ["doctor", f"pbs://{root}"])
    assert f"pbs: {'6.1.2' if fake_pbs == 'torque' else '22.05.11'}" in found.output
    assert "yes: the final states of jobs are stored" in found.output
    monkeypatch.setenv("FAKE_PBS_HISTORY", "0")
    forgets = CliRunner().invoke(command_line, ["doctor", f"pbs://{root}"])
    assert ("yes: the final states" in forgets.output) is (fake_pbs == "torque")
    with monkeypatch.context() as without_server:
        without_server.setenv("FAKE_PBS_HOME", "/nowhere")
        assert "cannot connect to server" in CliRunner().invoke(command_line, ["doctor", f"pbs://{root}"]).output
