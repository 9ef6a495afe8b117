"""Fences: what a fence has ended gives no result, and of several fences at a time one ends each element."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm import Job, JobArray, Retry, fence, task, workflow
from slurm.errors import ConfigurationError, ConnectionLost, JobCancelled
from slurm.protocol import FAILED, OUTCOMES, PROCESS, outcome_name
from slurm.protocol.outcomes import Outcome
from slurm.storage import job_store
from slurm.storage.fencing import cancelled_outcome, fence_elements
from slurm.testing import InlineCluster
from waiting import until

WAIT = 60.0


@task
def square(x: int) -> int:
    return x * x


def wait_for(file: Path) -> None:
    """Wait for a file, but not for ever: the tasks run in threads of this process."""
    end = time.monotonic() + 10
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.02)


@task
def slow(go: str) -> str:
    wait_for(Path(go))
    return "done"


@task
def step(directory: str, x: int) -> int:
    Path(directory, f"{x}").touch()
    wait_for(Path(directory, f"go-{x}"))
    return x


@workflow
def parent(go: str) -> str:
    return slow(go).result()


@pytest.fixture
def inline(tmp_path: Path) -> Iterator[InlineCluster]:
    with InlineCluster() as cluster:
        yield cluster
        (tmp_path / "go").touch()


def result(inline: InlineCluster, job: Job[object]) -> object:
    """The result of a job as another process finds it."""
    found = inline.job(job.key)
    assert not isinstance(found, JobArray)
    return found.result(WAIT)


def outcome(inline: InlineCluster, job: Job[object]) -> Outcome:
    return inline.place.store.several_outcomes({job.key.partition("[")[0]: [job.index]})[
        job.key.partition("[")[0]
    ].read[job.index]


def test_a_fence_returns_what_it_has_ended_and_the_others_keep_their_results(
    inline: InlineCluster, tmp_path: Path
) -> None:
    finished, running = square.map([2, 3]), slow(str(tmp_path / "go"))
    assert finished.results(WAIT) == [4, 9]
    assert fence([finished, [running, running]], "moved to elsewhere") == [running]
    with pytest.raises(JobCancelled, match="moved to elsewhere"):
        running.result(WAIT)
    assert running.cancelled()
    assert finished.results(WAIT) == [4, 9]
    assert fence(running, "again") == []
    (tmp_path / "go").touch()


def test_the_result_of_a_job_that_runs_on_is_not_taken(inline: InlineCluster, tmp_path: Path) -> None:
    job = slow(str(tmp_path / "go"))
    until(job.running)
    assert fence(job, "stopped") == [job]
    (tmp_path / "go").touch()
    until(lambda: not inline.place.queue.client.query([str(job.job_id).partition("_")[0]]).reports or not job.running())
    with pytest.raises(JobCancelled, match="stopped"):
        result(inline, job)
    assert outcome(inline, job).reason == "stopped"


def test_of_fences_at_the_same_time_one_ends_each_element(inline: InlineCluster, tmp_path: Path) -> None:
    jobs = slow.map([str(tmp_path / "go")] * 40)
    found: list[list[Job[str]]] = []
    threads = [threading.Thread(target=lambda n=n: found.append(fence(inline.job(jobs.key), f"{n}"))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(job.index for group in found for job in group) == list(range(40))
    (tmp_path / "go").touch()


def test_what_the_outcomes_hold_decides_and_not_the_answer_of_the_commit(
    inline: InlineCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = slow(str(tmp_path / "go"))
    original, losses = job_store.JobStore.commit, [1]

    def lose(self: job_store.JobStore, key: str, subdirectory: str, files: dict[str, bytes]) -> frozenset[str]:
        answer = original(self, key, subdirectory, files)
        if subdirectory == OUTCOMES and losses and losses.pop():
            raise ConnectionLost("after the files were written")
        return answer

    monkeypatch.setattr(job_store.JobStore, "commit", lose)
    assert fence(job, "moved") == [job]
    assert losses == []
    (tmp_path / "go").touch()


def test_a_fence_that_comes_second_ends_nothing(
    inline: InlineCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = slow(str(tmp_path / "go"))
    store = inline.place.store
    nothing = {job.key: frozenset[int]()}
    monkeypatch.setattr(store, "done", lambda _: nothing)  # the other outcome appears after it was looked for
    store.commit(job.key, OUTCOMES, {outcome_name(0): cancelled_outcome("first", fence="other").dumps()})
    assert fence(job, "second") == []
    (tmp_path / "go").touch()


def test_what_is_submitted_under_a_fenced_key_starts_nothing(
    inline: InlineCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "step/20260101T000000Z-00000000"
    word = cancelled_outcome("its client died", fence="word")
    assert fence_elements(inline.place.store, {key: {0, 1}}, word) == {key: {0, 1}}
    assert fence_elements(inline.place.store, {key: {0, 1, 2}}, cancelled_outcome(fence="another")) == {key: {2}}
    monkeypatch.setattr("slurm.jobs.submit.new_key", lambda _: key)
    jobs = step.map([str(tmp_path)] * 3, [0, 1, 2])
    assert jobs.key == key
    for error in jobs.exceptions(WAIT):
        assert isinstance(error, JobCancelled)
    until(lambda: all(not job.running() for job in jobs))
    assert list(tmp_path.iterdir()) == []


def test_a_shared_outcome_is_an_outcome_and_a_fence_commits_its_own(inline: InlineCluster, tmp_path: Path) -> None:
    jobs = slow.map([str(tmp_path / "go")] * 6)
    shared = Outcome(status=FAILED, phase=PROCESS, exit_code=1, state="CANCELLED")
    inline.place.store.commit_shared(jobs.key, [0, 1, 2], shared)
    assert fence(jobs, "moved") == list(jobs[3:])
    names = {path.name for path in Path(jobs.directory, OUTCOMES).glob("*.json")}
    assert names == {"shared-0.json", "3.json", "4.json", "5.json"}
    assert outcome(inline, jobs[0]).fence is None
    (tmp_path / "go").touch()


def test_an_element_of_several_calls_ends_when_it_writes_its_journal(
    inline: InlineCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurm.runner.journal.SECONDS", 0.0)
    (tmp_path / "go-4").touch()  # elements run in turns here, and this one may be the first
    jobs = step.map([str(tmp_path)] * 5, range(5), chunk_size=4)
    until((tmp_path / "0").exists)
    assert fence(jobs[:1], "moved") == [jobs[0]]
    assert [job.index for job in fence(jobs[1:4], "again")] == []
    (tmp_path / "go-0").touch()
    assert jobs[4].result(WAIT) == 4
    for job in jobs[:4]:
        with pytest.raises(JobCancelled, match="moved"):
            job.result(WAIT)
    until(lambda: not jobs[0].running())
    time.sleep(0.3)
    assert not (tmp_path / "1").exists()


def test_a_retry_does_not_follow_a_fence(inline: InlineCluster, tmp_path: Path) -> None:
    inline.queue.play("NODE_FAIL", task="slow", attempt=1)
    job = slow.with_options(retry=Retry(times=5))(str(tmp_path / "go"))
    assert fence(job, "moved") == [job]
    (tmp_path / "go").touch()
    assert isinstance(job.exception(WAIT), JobCancelled)


def test_children_of_workflows_are_fenced(inline: InlineCluster, tmp_path: Path) -> None:
    job = parent(str(tmp_path / "go"))
    until(lambda: len(job.children()) == 1)
    (child,) = job.children()
    assert fence(job, "moved") == [job]
    assert isinstance(child, Job)
    assert outcome(inline, child).reason == "moved"
    (tmp_path / "go").touch()
    with pytest.raises(JobCancelled, match="moved"):
        child.result(WAIT)


@pytest.mark.parametrize("reason", ["", None, 3])
def test_a_fence_without_a_reason_is_refused(inline: InlineCluster, reason: str) -> None:
    with pytest.raises(ConfigurationError, match="reason"):
        fence(square.map([1]), reason)
