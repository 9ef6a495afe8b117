"""The words that start programs of MPI, and the check of their world."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from slurm.errors import OptionError
from slurm.options import Options
from slurm.runner import mpi
from slurm.schedulers.base import Site
from slurm.schedulers.local import LocalScheduler
from slurm.schedulers.slurm import SlurmScheduler
from slurm.submission.requests import check_launch

SITE = Site("python3", "runner.zip")


def test_schedulers_start_programs_with_their_own_words() -> None:
    assert SlurmScheduler(SITE).launch(4, "pmix")[-1] == "--mpi=pmix"
    assert not [word for word in SlurmScheduler(SITE).launch(4) if word.startswith("--mpi")]
    assert LocalScheduler(SITE).launch(4, "pmix") == ["mpiexec", "-n", "4"]


@pytest.mark.parametrize("launch", [None, "ranks", "once", "mpi"])
@pytest.mark.parametrize("tasks", [1, 2])
def test_a_call_that_runs_once_in_several_tasks_gathers_nothing(launch: str | None, tasks: int) -> None:
    given = {"ntasks": tasks, "workers": 2} | ({"launch": launch} if launch else {})
    if tasks > 1 and launch in ("once", "mpi"):
        with pytest.raises(
            OptionError, match=f"f runs once in an allocation .*launch='{launch}'.* cannot have workers"
        ):
            check_launch("f", Options.parse(given))
    else:
        check_launch("f", Options.parse(given))


@pytest.mark.parametrize(
    ("variables", "runs"),
    [
        ({}, False),
        ({"PMI_SIZE": "1"}, False),
        ({"PMI_SIZE": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"PMIX_RANK": "0"}, True),
    ],
)
def test_a_program_runs_only_in_a_world_of_all_tasks(variables: dict[str, str], runs: bool, tmp_path: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "SLURM_NTASKS": "2", **variables}
    subprocess.run(mpi.launched(["env"], ["touch", "ran"], ""), cwd=tmp_path, env=environ, check=runs)
    assert (tmp_path / "ran").exists() is runs
    assert bool(mpi.problem(["srun"], environ, str(tmp_path), 1)) is not runs
