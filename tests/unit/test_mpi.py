"""The words that start programs of MPI, and the check of their world."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from slurm.runner import mpi
from slurm.schedulers.base import Site
from slurm.schedulers.local import LocalScheduler
from slurm.schedulers.slurm import SlurmScheduler

SITE = Site("python3", "runner.zip")


def test_schedulers_start_programs_with_their_own_words() -> None:
    assert SlurmScheduler(SITE).launch(4, "pmix")[-1] == "--mpi=pmix"
    assert not [word for word in SlurmScheduler(SITE).launch(4) if word.startswith("--mpi")]
    assert LocalScheduler(SITE).launch(4, "pmix") == ["mpiexec", "-n", "4"]


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
    subprocess.run(mpi.launched(["env"], ["touch", "ran"]), cwd=tmp_path, env=environ, check=runs)
    assert (tmp_path / "ran").exists() is runs
    assert bool(mpi.problem(["srun"], environ, str(tmp_path), 1)) is not runs
