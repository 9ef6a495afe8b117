"""Programs of MPI: one world of processes on every kind of cluster, or an error that says what is wrong."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slurm import Cluster, CommandFailed, Job, JobCancelled, JobContext, Retry, TaskExited, command, task
from slurm.errors import OptionError
from slurm.protocol import ATTEMPTS, attempt_name
from slurm.protocol.outcomes import Outcome
from slurm.runner.program import MARK
from waiting import alive, until

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


def test_what_a_process_printed_is_kept_if_its_launcher_does_not_read_it(local: Cluster) -> None:
    # mpiexec ends before it has read all, if a process calls MPI_Abort on a busy machine: here it reads nothing.
    dies = command(
        "sh -c 'kill -STOP $PPID; echo printed; echo told >&2; kill -KILL $PPID; exit 1'", launch="mpi", ntasks=1
    )
    error = dies().exception(90)
    assert isinstance(error, CommandFailed)
    assert "told" in error.stderr
    assert Path(error.directory or "", "stdout.log").read_text() == "printed\n"


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


WORLD = """
import os, sys, time
from mpi4py import MPI
pids, attempt = sys.argv[1:]
total = MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank + 1)
open(f"{pids}/{attempt}.{os.getpid()}", "x").close()
time.sleep(600 if attempt == "1" else 0)
os.write(1, b"%d\\n" % total)
"""


@command(launch="mpi", mpi="pmi2", ntasks=2)
def world(pids: Path, ctx: JobContext) -> list[str | os.PathLike[str]]:
    return [sys.executable, "-c", WORLD, pids, str(ctx.attempt)]


@pytest.mark.parametrize("victim", ["rank", "launcher", "runner"])
def test_a_killed_process_ends_all_processes_and_the_retry_succeeds(
    cluster: Cluster, tmp_path: Path, victim: str
) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    of: Any = world.with_options(retry=Retry(times=1, on=[CommandFailed, TaskExited]))
    job: Job[Finished] = of(pids)
    directory = Path(cluster.place.store.directory(job.key))
    until(lambda: len(os.listdir(pids)) == 2, timeout=90)
    ranks = [int(name.partition(".")[2]) for name in os.listdir(pids)]
    (launcher,) = [pid for pid in of_program(ranks[0]) if name_of(parent(pid)).startswith("python")]
    processes = {"rank": ranks[0], "launcher": launcher, "runner": parent(launcher)}
    first = {*ranks, *of_program(ranks[0]), *processes.values()}
    os.kill(processes[victim], signal.SIGKILL)
    until(lambda: not any(map(alive, first)), timeout=60)
    done = job.result(90)
    assert (done.directory / "stdout.log").read_text() == "3\n" * 2
    record = Outcome.loads((directory / ATTEMPTS / attempt_name(0, 1)).read_bytes(), where="")
    assert (record.exit_code != 0, record.phase) == (True, "process" if victim == "runner" else "run")
    assert len(os.listdir(pids)) == 4


def of_program(rank: int) -> list[int]:
    """The processes of the program that a process belongs to, by the variable that all of them inherit."""
    (mark,) = [text for text in environ(rank) if text.startswith(MARK.encode())]
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and mark in environ(int(name))]


def environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended
        return []


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_functions_are_not_programs(local: Cluster) -> None:
    @task(launch="mpi", ntasks=2)
    def function() -> None: ...

    with pytest.raises(OptionError, match="function is a function, and launch='mpi' starts programs"):
        function()
