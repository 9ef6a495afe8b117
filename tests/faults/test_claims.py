"""Claims: one process resubmits an element, even if processes die, and none does after a cancellation."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.conftest import Start
from slurm import Cluster, DependencyFailed, Retry, TaskExited, current_job, task
from slurm.options import Options
from slurm.protocol import Block
from slurm.tracking.attempts import Claim
from testbed import SlurmTestbed
from timing import set_timings
from waiting import until

pytestmark = pytest.mark.slurm


@pytest.fixture
def slurm(slurm_env: SlurmTestbed, root: Path) -> Iterator[Cluster]:
    """The active cluster."""
    with Cluster("slurm", root=root) as cluster:
        yield cluster


@task(retry=Retry(times=2, on=(ValueError, TaskExited)))
def fail_first(marks: Path, then: float = 0.0, *, by_signal: bool = False) -> int:
    """Fails in its first attempt; takes its time in the next."""
    ctx = current_job()
    (marks / f"{ctx.index}.{ctx.attempt}.{os.getpid()}").touch()
    if ctx.attempt == 1:
        while (marks / "wait").exists():
            time.sleep(0.05)
        if by_signal:
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("the first")
    time.sleep(then)
    return ctx.attempt


def claimed_by_the_dead(directory: str, elements: int) -> None:
    """Claims on what follows the first attempts, by a process that died before it queued anything."""
    claim = Claim(group="0.1-dead", options={}, retries=1, reason="ValueError", count=elements)
    for element in range(elements):
        Path(directory, "attempts", f"{element}.1.next.json").write_bytes(claim.dumps())


def attempts_of(marks: Path, attempt: int) -> int:
    return len(list(marks.glob(f"*.{attempt}.*")))


# Cancelling.


def test_cancel_reaches_an_attempt_that_this_client_does_not_know(slurm: Cluster, tmp_path: Path) -> None:
    job = fail_first(tmp_path, 300.0)
    until(lambda: attempts_of(tmp_path, 2))
    (pid,) = (int(path.name.rpartition(".")[2]) for path in tmp_path.glob("*.2.*"))
    job.cancel()
    assert job.exception(60) is not None
    assert job.cancelled()
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_job_cancelled_between_two_attempts_does_not_run_again(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_timings(monkeypatch, abandoned_claim=1.0)
    wait = tmp_path / "wait"
    wait.touch()
    job = fail_first(tmp_path)
    claimed_by_the_dead(job.directory, 1)
    wait.unlink()
    until(lambda: Path(job.directory, "attempts", "0.1.json").exists())
    job.cancel()
    assert job.exception(60) is not None
    assert job.cancelled()
    time.sleep(3.0)  # for whoever goes on with what was left behind
    assert job.cancelled()
    assert attempts_of(tmp_path, 2) == 0


# Claims of the dead.


def test_claim_of_a_dead_process_is_taken_over_with_all_its_elements(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_timings(monkeypatch, abandoned_claim=2.0)
    places = [tmp_path / str(number) for number in range(4)]
    for place in places:
        place.mkdir()
        (place / "wait").touch()
    array = fail_first.starmap([(place,) for place in places])
    claimed_by_the_dead(array.directory, 4)
    array[0].add_done_callback(print)  # somebody looks all the while
    for place in places:  # one by one, so that their ends are seen at different times
        (place / "wait").unlink()
        time.sleep(0.7)
    assert array.results(60) == [2] * 4
    assert [attempts_of(place, 2) for place in places] == [1] * 4
    assert len(list(Path(array.directory, "attempts").glob("*.blocks.json"))) == 1


def test_attempt_queued_by_a_dead_process_is_found(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_timings(monkeypatch, abandoned_claim=2.0)
    (tmp_path / "wait").touch()
    job = fail_first(tmp_path, 8.0)
    claimed_by_the_dead(job.directory, 1)
    (tmp_path / "wait").unlink()
    until(lambda: Path(job.directory, "attempts", "0.1.json").exists())
    place, watched, _ = job.part
    submission = place.store.records(watched.key).submission
    block = Block(first=0, count=1, tasks=(0,), name="0.1-dead", attempts=1)
    wanted = place.requests.block(submission, block, Options.parse({}), ())
    queued = place.queue.client.submit_now(str(tmp_path / "elsewhere"), watched.key, wanted, retry_job=None)
    assert job.result(60) == 2
    assert job.job_id == f"{queued.blocks[0].id}_0"
    assert attempts_of(tmp_path, 2) == 1


def test_second_job_for_one_claim_is_cancelled(slurm: Cluster, slurm_env: SlurmTestbed, tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    job = fail_first(tmp_path)
    place, watched, _ = job.part
    submission = place.store.records(watched.key).submission
    block = Block(first=0, count=1, name="0.1-twice", attempts=1)
    wanted = place.requests.block(submission, block, Options.parse({"hold": True}), ())
    record = str(tmp_path / "record")
    ids = [place.queue.client.submit_now(record, watched.key, wanted, retry_job=None).blocks[0].id for _ in range(2)]
    for _ in range(2):
        once = place.queue.client.submit_once(record, watched.key, wanted, retry_job=None)
        assert once.blocks[0].id == min(ids, key=int)
    left = slurm_env.run("squeue", "-h", "-o", "%F").stdout.split()
    assert set(left) & set(ids) == {min(ids, key=int)}


# One job at a time.


def test_requeued_job_whose_next_attempt_exists_does_nothing(
    slurm: Cluster, slurm_env: SlurmTestbed, tmp_path: Path
) -> None:
    job = fail_first(tmp_path, 8.0)
    first = str(job.job_id)
    until(lambda: attempts_of(tmp_path, 2))
    until(lambda: slurm_env.run("squeue", "-h", "-t", "all", "-j", first, "-o", "%T").stdout.strip() == "FAILED")
    slurm_env.run("scontrol", "requeue", first)
    until(lambda: "BeginTime" in slurm_env.run("squeue", "-h", "-j", first, "-o", "%r").stdout)
    slurm_env.run("scontrol", "update", f"jobid={first}", "StartTime=now")
    until(lambda: slurm_env.run("squeue", "-h", "-t", "all", "-j", first, "-o", "%T").stdout.strip() == "FAILED")
    assert job.result(60) == 2
    assert job.job_id != first
    assert attempts_of(tmp_path, 2) == 1


# Nobody tries for ever.


@task
def add(left: int, right: int) -> int:
    return left + right


@task
def killed() -> int:
    """Leaves no word of itself."""
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.mark.usefixtures("short_grace")
def test_dependent_of_a_job_without_outcome_fails_once(slurm: Cluster, tmp_path: Path) -> None:
    both = add(fail_first(tmp_path), killed())
    with pytest.raises(DependencyFailed):
        both.result(60)
    assert len(list(Path(both.directory, "attempts").glob("*.next.json"))) <= 2


def test_retry_job_that_must_not_submit_leaves_the_attempt_to_the_next_client(
    start: Start, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    testbed = start()
    with Cluster("slurm", root=root):
        (tmp_path / "wait").touch()
        job = fail_first(tmp_path)
    claimed_by_the_dead(job.directory, 1)  # so that nobody goes on meanwhile
    (tmp_path / "wait").unlink()
    until(lambda: "FAILED" in testbed.run("squeue", "-h", "-t", "all", "-n", "fail_first", "-o", "%T").stdout)
    script = Path(job.directory, "caretaker.sh").read_text()
    testbed.run("scancel", "--name", "fail_first-caretaker")
    Path(job.directory, "attempts", "0.1.next.json").unlink()
    # A refusal for good, on this node only: the real one needs a site that has it.
    said = tmp_path / "said"
    refusing = tmp_path / "bin" / "sbatch"
    refusing.parent.mkdir()
    refusing.write_text(f'#!/bin/sh\necho once >> {said}\necho "sbatch: error: Access/permission denied" >&2\nexit 1\n')
    refusing.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{refusing.parent}:{os.environ['PATH']}")
        done = subprocess.run(["bash"], input=script, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.startswith("SubmissionRefused: slurm refused"), done.stderr
    assert "its next client does it" in done.stderr
    assert said.read_text() == "once\n"
    with Cluster("slurm", root=root) as again:
        assert again.job(job.key).result(60) == 2  # type: ignore[union-attr]


@pytest.mark.usefixtures("short_grace")
def test_results_arrive_while_an_attempt_cannot_be_queued(
    start: Start, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    set_timings(monkeypatch, abandoned_claim=1.0)
    with Cluster("slurm", root=root):
        (tmp_path / "wait").touch()
        job = fail_first(tmp_path, by_signal=True)
        subprocess.run(["scancel", "--name", "fail_first-caretaker"], check=True)
        other = add.with_options(begin="now+8")(1, 2)
        # The client's own sbatch finds nobody, as through a network that is broken for it alone.
        broken = tmp_path / "bin" / "sbatch"
        broken.parent.mkdir()
        broken.write_text('#!/bin/sh\necho "sbatch: error: Unable to contact slurm controller" >&2\nexit 1\n')
        broken.chmod(0o755)
        with monkeypatch.context() as patch:
            patch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
            (tmp_path / "wait").unlink()
            job.add_done_callback(print)
            assert other.result(60) == 3
            assert not job.done()
        assert job.result(60) == 2
    assert attempts_of(tmp_path, 2) == 1
