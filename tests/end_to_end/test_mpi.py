"""Programs of MPI: one world of processes on every kind of cluster, or an error that says what is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, CommandFailed, Job, JobCancelled, command, task
from slurm.errors import OptionError
from waiting import until

if TYPE_CHECKING:
    from slurm import Finished

SUM = f"""{sys.executable} -c '
from mpi4py import MPI
from pathlib import Path
world = MPI.COMM_WORLD
total = world.reduce(world.rank + 1)
if world.rank == 0:
    Path("sum").write_text(f"{{{{total}}}} of {{{{world.size}}}}")
'"""

add = command(SUM, products=["sum"], launch="mpi", mpi="pmi2", ntasks=2)


def test_the_processes_of_a_program_are_one_world(cluster: Cluster) -> None:
    job: Job[Finished] = add()
    assert job.result(90).products[0].read_text() == "3 of 2"


@pytest.mark.slurm
def test_worlds_of_one_are_an_error_that_names_the_kind(slurm_env: object, root: Path) -> None:
    with Cluster("slurm", root=root), pytest.raises(CommandFailed, match=r"no --mpi started 2 .* worlds of size 1"):
        command("touch ran", launch="mpi", ntasks=2)().result(90)
    assert not list(root.rglob("ran"))
    with Cluster("slurm", root=root):
        assert command("touch ran", products="ran", launch="mpi", mpi="none", ntasks=2)().result(90).products


def test_a_missing_launcher_is_named(local: Cluster) -> None:
    job = command("true", launch="mpi", ntasks=2, env={"PATH": "/usr/bin:/bin"})
    if os.path.exists("/usr/bin/mpiexec"):
        pytest.skip("this machine has mpiexec in /usr/bin")
    with pytest.raises(CommandFailed, match=r"mpiexec is not on PATH there\. Install an MPI"):
        job().result(90)


def test_a_cancelled_program_leaves_no_process(cluster: Cluster, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    wait = command("sh -c 'touch $0/$$; exec sleep 600' {pids}", launch="mpi", mpi="pmi2", ntasks=2)
    job = wait(pids)
    until(lambda: len(os.listdir(pids)) == 2)
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(90)
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in os.listdir(pids)))


def test_functions_are_not_programs(local: Cluster) -> None:
    @task(launch="mpi", ntasks=2)
    def function() -> None: ...

    with pytest.raises(OptionError, match="function is a function, and launch='mpi' starts programs"):
        function()
