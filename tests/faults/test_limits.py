"""More elements than Slurm accepts for one user: they are queued as room frees, with a client or without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm import Cluster, JobCancelled, JobState, Retry, current_job, task
from slurm.errors import SubmissionRefused
from slurm.sweeps.snapshot import State
from slurm.sweeps.sweep import Sweep
from slurm.tracking.attempts import Claim
from testbed import SlurmTestbed
from testbed.fixtures import require
from timing import set_timings
from waiting import until

pytestmark = pytest.mark.slurm

MOST = 8


@pytest.fixture(scope="module")
def limited() -> Iterator[SlurmTestbed]:
    """A cluster where a user may have eight jobs in the queue."""
    require(accounting=True)
    settings = {"AccountingStorageEnforce": "limits,qos"}
    with SlurmTestbed(accounting=True, settings=settings) as testbed, pytest.MonkeyPatch.context() as patch:
        for name, value in testbed.env.items():
            patch.setenv(name, value)
        user = testbed.run("id", "-un").stdout.strip()
        testbed.run("sacctmgr", "-i", "add", "account", "science")
        testbed.run("sacctmgr", "-i", "add", "user", user, "account=science", "defaultaccount=science")
        testbed.run("sacctmgr", "-i", "modify", "user", user, "set", f"maxsubmitjobs={MOST}", "defaultaccount=science")
        until(lambda: "science" in testbed.run("scontrol", "show", "assoc_mgr").stdout)
        yield testbed


@pytest.fixture
def slurm(limited: SlurmTestbed, root: Path) -> Iterator[Cluster]:
    """The active cluster."""
    with Cluster("slurm", root=root) as cluster:
        yield cluster
    limited.cancel_all()
    until(lambda: not limited.run("squeue", "-h").stdout)


@task
def mark(place: Path, number: int, seconds: float = 0.2) -> int:
    (place / f"{number}.{os.getpid()}").touch()
    time.sleep(seconds)
    return number


@task
def wait_for(number: int, until_there: Path) -> int:
    while not until_there.exists():
        time.sleep(0.02)
    return number


@task
def negative(number: int) -> int:
    return -number


def test_map_over_the_submit_limit_is_queued_as_room_frees(
    slurm: Cluster, limited: SlurmTestbed, tmp_path: Path
) -> None:
    array = mark.starmap([(tmp_path, number) for number in range(20)])
    after = negative.map(array)
    assert array[19].job_id is None
    assert array[19].status().state is JobState.PENDING
    assert array[19].status().reason == "no room in the queue for it yet"
    assert array.results(200) == list(range(20))
    assert len(list(tmp_path.glob("*.*"))) == 20
    assert array[19].logs() == ""
    assert after.results(200) == [-number for number in range(20)]
    assert slurm.command_counts()["limits"] <= 2


def test_a_pool_tells_why_it_cannot_grow_and_goes_on_with_what_it_has(
    slurm: Cluster, limited: SlurmTestbed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with slurm.pool(workers=(MOST, MOST + 4), time="10:00", mem="1M") as pool:
        assert len(pool.jobs) == MOST
        calls = wait_for.on(pool).map(range(MOST + 4), until_there=tmp_path / "end")
        until(lambda: "of the pool cannot be queued: " in caplog.text)
        assert "AssocMaxSubmitJobLimit" in caplog.text
        assert "AssocMaxSubmitJobLimit" in str(calls[-1].status().reason)
        assert len(pool.jobs) == MOST
        (tmp_path / "end").touch()
        assert calls.results(200) == list(range(MOST + 4))
    until(pool.jobs.done)


def test_deferred_elements_are_queued_without_a_client(
    slurm: Cluster, limited: SlurmTestbed, root: Path, tmp_path: Path
) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from slurm import Cluster\n"
        "from faults.test_limits import mark\n"
        "with Cluster('slurm', root=sys.argv[2]):\n"
        "    print(mark.starmap([(Path(sys.argv[3]), number) for number in range(18)]).key)\n"
    )
    argv = [sys.executable, "-c", program, str(Path(__file__).parents[1]), str(root), str(tmp_path)]
    key = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    until(lambda: len(list((root / "jobs" / key / "outcomes").glob("*.json"))) == 18, 100)
    assert slurm.job(key).results(30) == list(range(18))  # type: ignore[union-attr]
    assert len(list(tmp_path.glob("*.*"))) == 18


@task(retry=Retry(times=1, on=ValueError))
def fail_first(place: Path, number: int) -> int:
    if number == 0 and current_job().attempt == 1:
        raise ValueError(number)
    (place / f"{number}.{os.getpid()}").touch()
    time.sleep(0.5)
    return number


def test_next_attempt_waits_while_the_queue_is_full(
    slurm: Cluster, limited: SlurmTestbed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    array = fail_first.starmap([(tmp_path, number) for number in range(14)])
    assert array.results(200) == list(range(14))
    assert len(list(tmp_path.glob("*.*"))) == 14
    assert not [record for record in caplog.records if "Error" in record.message]


@task
def alone(place: Path, number: int) -> int:
    """How many of its kind run while it does."""
    own = place / f"{number}.here"
    own.touch()
    time.sleep(0.3)
    found = len(list(place.glob("*.here")))
    own.unlink()
    return found


def test_max_concurrent_applies_to_deferred_blocks(slurm: Cluster, limited: SlurmTestbed, tmp_path: Path) -> None:
    array = alone.starmap([(tmp_path, number) for number in range(12)], max_concurrent=1)
    assert array.results(200) == [1] * 12


@task
def gated(gate: Path, number: int) -> int:
    until(gate.exists)
    return number


def test_jobs_over_the_limits_of_a_qos_wait_or_are_refused(
    slurm: Cluster, limited: SlurmTestbed, tmp_path: Path
) -> None:
    user = limited.run("id", "-un").stdout.strip()
    for name, settings in (("small", ("MaxTRESPerUser=cpu=1",)), ("strict", ("MaxTRES=cpu=1", "Flags=DenyOnLimit"))):
        limited.run("sacctmgr", "-i", "add", "qos", name)
        limited.run("sacctmgr", "-i", "modify", "qos", name, "set", *settings)
        limited.run("sacctmgr", "-i", "modify", "user", user, "set", f"qos+={name}")
    until(lambda: "strict" in limited.run("scontrol", "show", "assoc_mgr", "qos=strict").stdout)
    few = [gated.with_options(qos="small")(tmp_path / "gate", number) for number in range(2)]
    until(lambda: few[1].status().reason == "QOSMaxCpuPerUserLimit")
    assert few[1].status().explanation == "a limit of its QOS is reached: it waits for other jobs to end"
    (tmp_path / "gate").touch()
    assert [job.result(60) for job in few] == [0, 1]
    with pytest.raises(SubmissionRefused) as refused:
        negative.with_options(qos="strict", cpus_per_task=2)(1)
    assert "qos" in refused.value.options
    assert negative.with_options(qos="strict")(1).result(60) == -1


def test_a_qos_that_lets_a_user_queue_one_job_runs_a_map(slurm: Cluster, limited: SlurmTestbed) -> None:
    user = limited.run("id", "-un").stdout.strip()
    limited.run("sacctmgr", "-i", "add", "qos", "single")
    limited.run("sacctmgr", "-i", "modify", "qos", "single", "set", "MaxSubmitJobsPerUser=1")
    limited.run("sacctmgr", "-i", "modify", "user", user, "set", "qos+=single")
    until(lambda: "single" in limited.run("scontrol", "show", "assoc_mgr", "qos=single").stdout)
    one = negative.with_options(qos="single")
    assert one.map(range(3)).results(200) == [0, -1, -2]
    assert one.with_options(retry=1).map(range(3)).results(200) == [0, -1, -2]


def test_block_claimed_by_a_dead_process_is_queued(
    slurm: Cluster, limited: SlurmTestbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_timings(monkeypatch, abandoned_claim=1.0)
    array = mark.starmap([(tmp_path, number, 3.0) for number in range(14)])
    watched = array.part.state
    first = watched.unqueued[0]
    claim = Claim(group=f"{first}.0-dead", options={}, retries=0, reason="there is room", count=2)
    directory = Path(array.directory, "attempts")
    directory.mkdir(exist_ok=True)
    (directory / f"{first}.0.next.json").write_bytes(claim.dumps())
    assert array.results(200) == list(range(14))
    assert len(list(tmp_path.glob("*.*"))) == 14
    (block,) = json.loads((directory / f"{first}.0-dead.blocks.json").read_text())["blocks"]
    assert (block["first"], block["count"]) == (first, 2)


def test_element_cancelled_before_it_was_queued_is_never_queued(
    slurm: Cluster, limited: SlurmTestbed, tmp_path: Path
) -> None:
    array = mark.starmap([(tmp_path, number, 60.0) for number in range(20)])
    until(lambda: len(list(tmp_path.glob("*.*"))) >= 1)
    array.cancel()
    found = array.results(60, return_exceptions=True)
    assert {type(error) for error in found} == {JobCancelled}
    assert all(job.cancelled() for job in array)
    time.sleep(2.0)
    assert len(list(tmp_path.glob("*.*"))) < MOST


@task
def point(place: str, number: int) -> int:
    return mark.unwrapped(Path(place), number)


def test_sweep_at_a_source_with_less_room_than_points_and_at_another(
    limited: SlurmTestbed, root: Path, tmp_path: Path
) -> None:
    far, near = Cluster("slurm", root=root / "far"), Cluster("local", root=root / "near")
    points = [{"place": str(tmp_path), "number": number} for number in range(60)]
    sweep = Sweep(point, points, name="room", directory=tmp_path / "sweeps").run(on=[(far, 12), (near, 2)])
    assert sweep.drive().counts == {State.DONE: 60}, sweep.errors()
    assert len(list(tmp_path.glob("*.*"))) == 60  # each point began once
    sources = Counter(found.source for found in sweep.snapshot().points)
    assert sources[far.url] > MOST
    assert sources[near.url] > 0
