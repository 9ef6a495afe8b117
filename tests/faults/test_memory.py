"""Jobs that want more memory than they asked for, where the kernel holds them to it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from slurm import Cluster, JobState, Retry, command, current_job, task
from slurm.cli.main import slurm as command_line
from slurm.errors import CommandFailed, CommandOutOfMemory, JobOutOfMemory
from testbed import SlurmTestbed
from testbed.fixtures import require
from testbed.programs import CGROUPS, CONTROLLERS

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
