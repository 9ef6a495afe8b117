"""The façade of submitit: parameters, commands, helpers and the debug executor. No cluster runs."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from slurm.compat import submitit
from slurm.compat.submitit.core.utils import CommandFunction, DelayedSubmission, FailedJobError, UncompletedJobError
from slurm.compat.submitit.parameters import of_local, of_slurm
from slurm.errors import OptionError

DEFAULTS = {"time": 5, "nodes": 1, "max_concurrent": 256, "separate_stderr": True}


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, {}),
        ({"timeout_min": 90, "name": "n", "mem_gb": 1.5}, {"time": 90, "job_name": "n", "mem": "1536M"}),
        ({"slurm_time": 7, "timeout_min": 90}, {"time": 7}),
        ({"slurm_partition": "dev", "local_setup": ["true"]}, {"partition": "dev"}),
        ({"slurm_timeout_min": 3, "stderr_to_stdout": True}, {"time": 3, "separate_stderr": False}),
        ({"slurm_array_parallelism": 4, "cpus_per_task": None}, {"max_concurrent": 4}),
        ({"nodes": 2, "tasks_per_node": 4}, {"nodes": 2, "ntasks_per_node": 4, "gather": True}),
        ({"nodes": 2, "slurm_use_srun": False}, {"nodes": 2, "launch": "once"}),
        (
            {"slurm_srun_args": ["--cpu-bind=cores", "--mpi", "pmi2", "--exact"]},
            {"srun": {"cpu_bind": "cores", "mpi": "pmi2", "exact": True}},
        ),
        (
            {"slurm_additional_parameters": {"mail-user": "a@b.c", "odd_one": 1}},
            {"mail_user": "a@b.c", "sbatch": {"--odd-one": 1}},
        ),
    ],
)
def test_parameters_become_options(tmp_path: Path, given: dict[str, Any], options: dict[str, Any]) -> None:
    executor = submitit.AutoExecutor(tmp_path / "%j", cluster="slurm")
    executor.update_parameters(**given)
    assert of_slurm(executor.parameters).options == DEFAULTS | options


def test_dependencies_are_waited_for() -> None:
    assert of_slurm({"dependency": "afterok:1:2,afterany:3"}).after == ((("1", "2"), "success"), (("3",), "any"))
    with pytest.raises(OptionError, match="expected afterok:ID"):
        of_slurm({"dependency": "singleton"})


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"partition": "dev"}, NameError, "unknown parameter 'partition'.*slurm_partition"),
        ({"slurm_partitoin": "dev"}, NameError, "did you mean 'slurm_partition'"),
        ({"timeout_min": "5"}, TypeError, "timeout_min='5': expected"),
        ({"slurm_srun_args": ["-v"]}, ValueError, "long option"),
        ({"slurm_dependency": "singleton"}, ValueError, "expected afterok:ID"),
    ],
)
def test_wrong_parameters_are_errors_at_once(
    tmp_path: Path, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    executor = submitit.AutoExecutor(tmp_path, cluster="slurm")
    with pytest.raises(error, match=message):
        executor.update_parameters(**given)
    assert executor.parameters == {}


def test_executors_take_their_own_parameters_and_arguments(tmp_path: Path) -> None:
    executor = submitit.SlurmExecutor(tmp_path)
    executor.update_parameters(time=3, partition="dev")
    with pytest.raises(ValueError, match="unknown parameter"):
        executor.update_parameters(timeout_min=3)
    with pytest.raises(TypeError, match="write slurm_python"):
        submitit.AutoExecutor(tmp_path, cluster="slurm", python="python3")
    with pytest.raises(ValueError, match="no executor 'chronos'"):
        submitit.AutoExecutor(tmp_path, cluster="chronos")
    with pytest.raises(ValueError, match="only one node"):
        of_local({"nodes": 2})
    assert of_local({"gpus_per_node": 1, "visible_gpus": [3, 4]}).options["env"] == {"CUDA_VISIBLE_DEVICES": "3"}


def test_a_command_is_a_function(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = "import sys; print(*sys.argv[1:]); print('no', file=sys.stderr); sys.exit(int(sys.argv[1]))"
    command = CommandFunction([sys.executable, "-c", code], cwd=tmp_path)
    assert command(0, depth=3) == "0 --depth=3"
    assert "0 --depth=3" in capfd.readouterr().out
    with pytest.raises(FailedJobError, match=r"^no$"):
        command(3)
    with pytest.raises(TypeError, match="list of words"):
        CommandFunction("echo")  # type: ignore[arg-type]


def test_a_sequence_goes_on_with_the_calls_that_are_left() -> None:
    done: list[int] = []
    sequence = submitit.helpers.FunctionSequence()
    sequence.add(done.append, 1)
    sequence.add(pow, 2, 3)
    next(iter(sequence)).result()
    left = sequence.checkpoint()
    assert left.result() == [None, 8]
    assert done == [1]
    sequence.delayed_functions.pop(0)
    again: DelayedSubmission = pickle.loads(pickle.dumps(sequence.checkpoint()))
    assert again.result() == [8]


def test_a_class_that_cannot_be_called_is_not_checkpointable() -> None:
    class Odd(submitit.helpers.Checkpointable):
        pass

    with pytest.raises(TypeError, match="Odd is Checkpointable and needs a method __call__"):
        Odd()


def test_a_clean_environment_has_nothing_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with submitit.helpers.clean_env():
        assert not {"SLURM_JOB_ID", "LOCAL_RANK"} & set(os.environ)
    assert os.environ["SLURM_JOB_ID"] == "3"


def test_the_debug_executor_calls_here_when_it_is_asked(tmp_path: Path) -> None:
    executor = submitit.AutoExecutor(tmp_path, cluster="debug", slurm_max_num_timeout=3)
    executor.update_parameters(timeout_min=3, slurm_partition="dev")
    called: list[str] = []
    job = executor.submit(lambda: called.append(submitit.JobEnvironment().job_id))
    assert (called, job.state) == ([], "QUEUED")
    assert job.done()
    assert called == [job.job_id]
    with executor.batch():
        later = [executor.submit(pow, 2, 3)]
    assert [job.result() for job in submitit.helpers.as_completed([*later, job])] == [8, None]
    assert asyncio.run(executor.submit(pow, 2, 4).awaitable().result()) == 16
    failed, cancelled = executor.map_array(int, ["x", "1"])
    assert isinstance(failed.exception(), ValueError)
    cancelled.cancel()
    with pytest.raises(UncompletedJobError, match="cancelled"):
        cancelled.result()


def test_what_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match="Plug-ins of submitit do not work"):
        submitit.PBSExecutor  # noqa: B018
    with pytest.raises(AttributeError, match="Wheel"):
        submitit.helpers.RsyncSnapshot  # noqa: B018
    with pytest.raises(RuntimeError, match="only in a job"):
        submitit.JobEnvironment()
