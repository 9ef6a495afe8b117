"""Jobs that want more memory than they asked for, where the kernel holds them to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from slurm import Cluster, JobState, Retry, command, current_job, task
from slurm.cli.main import slurm as command_line
from slurm.errors import CommandFailed, CommandOutOfMemory, JobCancelled, JobOutOfMemory, WorkerDied
from testbed import SlurmTestbed
from testbed.fixtures import require
from testbed.programs import CGROUPS, CONTROLLERS
from waiting import until

pytestmark = pytest.mark.slurm

MIB = 2**20


@pytest.fixture(scope="module")
def limited() -> Iterator[SlurmTestbed]:
    """One cluster with limits on memory for all tests here."""
    require(memory_limits=True)
    with SlurmTestbed(memory_limits=True) as testbed:
        yield testbed


@pytest.fixture(autouse=True)
def slurm(limited: SlurmTestbed, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The active cluster."""
    for name, value in limited.env.items():
        monkeypatch.setenv(name, value)
    with Cluster("slurm", root=root) as cluster:
        yield cluster
    limited.cancel_all()


@task(mem="100M")
def fill(mebibytes: int) -> int:
    return len(b"\1" * (mebibytes * MIB))


def test_task_over_its_memory_is_out_of_memory(root: Path) -> None:
    fill(1).result(60)
    job = fill(300)
    with pytest.raises(JobOutOfMemory, match=r"ran out of memory; give it more with .with_options\(mem=…\)"):
        job.result(60)
    told = time.time()
    outcome = job.status().outcome
    assert outcome is not None
    assert outcome.ended is not None
    assert told - outcome.ended < 10
    assert (outcome.phase, outcome.exit_code, outcome.state) == ("process", 128 + 9, "OUT_OF_MEMORY")
    assert job.status().state is JobState.OUT_OF_MEMORY
    shown = CliRunner().invoke(command_line, ["explain", job.key, "--on", f"slurm://{root}"])
    assert "OUT_OF_MEMORY\n    it asked for mem=100M" in shown.output
    assert fill.with_options(mem="500M")(300).result(60) == 300 * MIB


def test_element_out_of_memory_does_not_affect_others() -> None:
    array = fill.map([1, 300, 2, 3])
    with pytest.raises(JobOutOfMemory) as caught:
        array[1].result(60)
    assert caught.value.index == 1
    assert [array[index].result(60) for index in (0, 2, 3)] == [1 * MIB, 2 * MIB, 3 * MIB]
    assert [job.status().state for job in array][:2] == [JobState.COMPLETED, JobState.OUT_OF_MEMORY]


@command(mem="100M")
def hoard(mebibytes: int) -> list[str]:
    return [sys.executable, "-c", f"print('begin', flush=True); b'1' * ({mebibytes} << 20)"]


def test_program_out_of_memory_says_so_and_gets_more() -> None:
    jobs = hoard.map([1, 300])
    with pytest.raises(
        CommandFailed, match=r"ran out of memory: give it more .*\n*.*standard output ends:\nbegin"
    ) as caught:
        jobs[1].result(60)
    assert isinstance(caught.value, JobOutOfMemory)
    assert jobs[0].result(60).exit_code == 0
    assert [job.status().state for job in jobs] == [JobState.COMPLETED, JobState.OUT_OF_MEMORY]
    more = hoard.with_options(retry=Retry(times=1, mem="x5"))(300)
    assert more.result(60).exit_code == 0
    chunk = hoard.with_options(chunk_size=2).map([1, 300])
    assert (chunk[0].result(60).exit_code, type(chunk[1].exception(60))) == (0, CommandOutOfMemory)


@task(nodes=2, ntasks=2, mem="100M", retry=Retry(times=1, mem="x5"))
def fill_in_the_second_rank() -> int:
    ctx = current_job()
    if ctx.rank == 0 and ctx.attempt == 1:
        time.sleep(100)
    return len(b"\1" * (200 * MIB * ctx.rank)) + ctx.attempt


def test_rank_out_of_memory_ends_all_ranks_and_all_get_more() -> None:
    job = fill_in_the_second_rank()
    assert job.result(60) == 2
    with pytest.raises(JobOutOfMemory, match=r"rank 1 of 2 of job fill_in_the_second_rank/.* ran out of memory"):
        fill_in_the_second_rank.with_options(retry=None)().result(60)


@task
def hold(x: int, directory: Path) -> int:
    """Leave the number of the process; end when there is a file."""
    (directory / f"{x}.new").write_text(str(os.getpid()))
    (directory / f"{x}.new").rename(directory / f"{x}")
    while not (directory / "end").exists():
        time.sleep(0.02)
    return x


@task
def fill_first(mebibytes: int) -> int:
    """Use much memory in the first attempt. Return the attempt."""
    attempt = current_job().attempt
    return attempt if attempt > 1 else len(b"\1" * (mebibytes * MIB))


def test_call_of_a_pool_out_of_memory_takes_no_other_and_the_pool_goes_on(
    slurm: Cluster, root: Path, tmp_path: Path
) -> None:
    with slurm.pool(workers=2, time="10:00", mem="200M") as pool:
        held = hold.on(pool)(0, directory=tmp_path)
        until((tmp_path / "0").exists)
        array = fill.on(pool).map([1, 1000, 2])
        with pytest.raises(JobOutOfMemory, match="ran out of memory; give the pool more") as caught:
            array[1].result(60)
        assert (caught.value.index, caught.value.state) == (array[1].index, "OUT_OF_MEMORY")
        assert [array[0].result(60), array[2].result(60)] == [1 * MIB, 2 * MIB]
        assert array[1].status().state is JobState.OUT_OF_MEMORY
        for retry in (Retry(times=1), Retry(times=1, on=JobOutOfMemory)):
            assert fill_first.with_options(retry=retry).on(pool)(1000).result(60) == 2
        # No later death is one of memory, although this call began before the kernel killed the others.
        os.kill(int((tmp_path / "0").read_text()), signal.SIGKILL)
        with pytest.raises(WorkerDied, match="SIGKILL"):
            held.result(60)
        cancelled = hold.on(pool)(1, directory=tmp_path)
        until((tmp_path / "1").exists)
        cancelled.cancel()
        with pytest.raises(JobCancelled):
            cancelled.result(60)
        call, url = f"{array.key}[{array[1].index}]", f"slurm://{root}"
        shown = CliRunner().invoke(command_line, ["show", call, "--on", url]).output
        assert "states     OUT_OF_MEMORY" in shown
        assert "JobOutOfMemory: its worker ran out of memory" in shown
        explain = [sys.executable, "-m", "slurm", "explain", array.key, "--on", url]  # as another process sees it
        told = subprocess.run(explain, capture_output=True, text=True, check=True).stdout
        assert "1 OUT_OF_MEMORY" in told
        assert "its pool asked for mem=200M: make a pool with more memory or fewer workers" in told


@task
def fill_until_the_element_ends(mebibytes: int) -> int:
    """Make the kernel end the parent of the workers first."""
    Path(f"/proc/{os.getppid()}/oom_score_adj").write_text("1000")
    return len(b"\1" * (mebibytes * MIB))


def test_calls_of_an_element_that_is_out_of_memory_have_its_state(slurm: Cluster, tmp_path: Path) -> None:
    with slurm.pool(workers=2, time="10:00", mem="200M") as pool:
        held = hold.on(pool)(0, directory=tmp_path)
        until((tmp_path / "0").exists)
        job = fill_until_the_element_ends.on(pool)(1000)
        for each in (job, held):
            with pytest.raises(JobOutOfMemory, match="ran out of memory; give the pool more"):
                each.result(60)
            assert each.status().state is JobState.OUT_OF_MEMORY


def test_outcome_has_the_peak_memory() -> None:
    job = fill.with_options(mem="500M")(200)
    job.result(60)
    outcome = job.status().outcome
    assert outcome is not None
    assert outcome.peak_memory is not None
    assert 200 * MIB < outcome.peak_memory < 300 * MIB


def test_cgroups_are_removed_with_their_cluster(root: Path) -> None:
    with SlurmTestbed(memory_limits=True, nodes=1) as testbed:
        testbed.run("sbatch", "-o", "/dev/null", "--wrap", "setsid sleep 300 & sleep 300")
        cgroups = [CGROUPS / name / testbed.directory.name for name in CONTROLLERS]
        end = time.monotonic() + 30
        while not all(any(cgroup.glob("**/job_*")) for cgroup in cgroups):
            assert time.monotonic() < end
            time.sleep(0.05)
    assert not any(cgroup.exists() for cgroup in cgroups)
