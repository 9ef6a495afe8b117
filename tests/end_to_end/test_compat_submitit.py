"""The façade of submitit on clusters: what its users rely on besides results."""

from __future__ import annotations

import asyncio
import pickle
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from slurm import JobCancelled
from slurm.compat import submitit
from slurm.compat.submitit import AutoExecutor
from slurm.compat.submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> AutoExecutor:
    """An executor of each kind."""
    if request.param == "slurm":
        request.getfixturevalue("slurm_env")
    return submitit.AutoExecutor(tmp_path / "log %j" / "jobs", cluster=request.param)


def where(number: int) -> tuple[int, str, int]:
    environment = submitit.JobEnvironment()
    print(f"out {number}")
    print(f"err {number}", file=sys.stderr)
    return number, environment.job_id, environment.global_rank


def test_jobs_have_ids_logs_paths_and_states(executor: AutoExecutor, tmp_path: Path) -> None:
    one, *others = executor.map_array(where, [1, 2, 3])
    with executor.batch():
        late = executor.submit(int, "odd")
        with pytest.raises(AttributeError, match="submitted at its end"):
            late.result()
        with pytest.raises(RuntimeError, match="cannot change"):
            executor.update_parameters(timeout_min=9)
    assert [job.result()[:2] for job in (one, *others)] == [(n, job.job_id) for n, job in enumerate([one, *others], 1)]
    assert (one.stdout(), one.stderr(), one.state, one.done()) == ("out 1\n", "err 1\n", "COMPLETED", True)
    assert one.paths.stdout.read_text() == "out 1\n"
    assert one.paths.stderr.read_text() == "err 1\n"
    assert one.paths.folder.is_relative_to(tmp_path)
    assert one.paths.submission_file.exists()
    assert one.submission().args == (1,)
    assert one.get_info()["JobID"] == one.job_id
    with pytest.raises(AttributeError, match=r"job.result\(\)"):
        one.paths.result_pickle  # noqa: B018
    again: submitit.Job[Any] = pickle.loads(pickle.dumps(others[1]))
    assert again.result()[0] == 3
    assert asyncio.run(others[0].awaitable().result())[0] == 2
    with pytest.raises(FailedJobError, match="invalid literal") as caught:
        late.result()
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.warns(UserWarning, match="empty job array"):
        assert executor.map_array(where, []) == []


def test_several_processes_and_a_job_that_is_cancelled(executor: AutoExecutor) -> None:
    long = executor.submit(time.sleep, 300)
    executor.update_parameters(tasks_per_node=2, stderr_to_stdout=True)
    job = executor.submit(where, 5)
    assert [rank for *_, rank in job.results()] == [0, 1]
    assert (job.num_tasks, job.task(1).result()[2], job.task(1).num_tasks) == (2, 1, 1)
    assert sorted((job.task(1).stdout() or "").split()) == ["5", "5", "err", "out"]
    assert job.stderr() is None
    with pytest.raises(ValueError, match=r"use results\(\)"):
        job.result()
    long.cancel()
    with pytest.raises(UncompletedJobError) as caught:
        long.result()
    assert not isinstance(caught.value, FailedJobError)
    assert isinstance(caught.value.__cause__, JobCancelled)


@pytest.mark.slurm
def test_what_slurm_refuses_is_a_failed_submission(slurm_env: object, tmp_path: Path) -> None:
    executor = submitit.AutoExecutor(tmp_path)
    assert executor.cluster == "slurm"
    executor.update_parameters(slurm_partition="nowhere", timeout_min=3)
    with pytest.raises(FailedSubmissionError, match="nowhere"):
        executor.submit(where, 1)


class Count:
    """Returns once it has made a checkpoint."""

    def __init__(self) -> None:
        self.checkpoints = 0

    def __call__(self, word: str) -> tuple[int, str]:
        if not self.checkpoints:
            time.sleep(300)
        return self.checkpoints, word

    def checkpoint(self, word: str) -> submitit.helpers.DelayedSubmission:
        self.checkpoints += 1
        return submitit.helpers.DelayedSubmission(self, word + "!")


@pytest.mark.parametrize("timeouts", [0, 100])
def test_a_callable_with_checkpoint_goes_on_after_its_time_limit(tmp_path: Path, timeouts: int) -> None:
    executor = submitit.AutoExecutor(tmp_path, cluster="local", local_max_num_timeout=timeouts)
    executor.update_parameters(timeout_min=1, local_signal_delay_s=57)
    job = executor.submit(Count(), "on")
    if timeouts:  # the signal may also find a job that has hardly begun, so there may be several checkpoints
        checkpoints, word = job.result()
        assert checkpoints >= 1
        assert word == "on" + "!" * checkpoints
    else:
        with pytest.raises(UncompletedJobError, match="timed-out too many times"):
            job.result()


def test_a_job_that_is_left_is_cancelled_if_that_was_asked(tmp_path: Path) -> None:
    executor = submitit.AutoExecutor(tmp_path, cluster="local")
    job = executor.submit(time.sleep, 300).cancel_at_deletion()
    native = job.native
    del job
    with pytest.raises(JobCancelled):
        native.result()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with executor.batch(allow_implicit_submissions=True):
            assert executor.submit(abs, -2).result() == 2
    assert caught == []


def executor_on_the_node() -> str:
    try:
        submitit.AutoExecutor("log_test")
    except RuntimeError as error:
        return str(error)
    return type(AutoExecutor).__name__


def test_functions_may_refer_to_executors_which_nodes_do_not_have(tmp_path: Path) -> None:
    executor = submitit.AutoExecutor(tmp_path, cluster="local")
    assert "AutoExecutor works in the program that submits jobs" in executor.submit(executor_on_the_node).result()
