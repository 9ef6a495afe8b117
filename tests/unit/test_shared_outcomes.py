"""Shared outcomes: one file for many elements that never began. An outcome of an element's own overrides it."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm import Cluster, JobArray, Retry, task
from slurm.errors import DependencyFailed, JobCancelled, JobNotStarted, JobOutOfMemory, ProtocolError
from slurm.protocol import FAILED, JOBS, OUTCOMES, PROCESS, outcome_name, shared_name
from slurm.protocol.outcomes import Outcome, SharedOutcome
from slurm.runner.placeholder_resolver import PlaceholderResolver, UpstreamFailed
from slurm.storage.job_store import JobStore
from slurm.testing import Answer, InlineCluster
from slurm.tracking import attempts
from slurm.tracking.attempts import Claim, write_claims
from slurm.transports.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = "task/20260101T000000Z-00000000"
CANCELLED = Outcome(status=FAILED, phase=PROCESS, exit_code=1, state="CANCELLED")
TIMEOUT = CANCELLED.replace(state="TIMEOUT")
WAIT = 60.0


@task
def square(x: int) -> int:
    return x * x


@pytest.fixture
def outcomes(tmp_path: Path) -> Path:
    found = tmp_path / JOBS / KEY / OUTCOMES
    found.mkdir(parents=True)
    return found


@pytest.fixture
def store(tmp_path: Path, outcomes: Path) -> JobStore:
    return JobStore(LocalTransport(), str(tmp_path))


def done(store: JobStore) -> list[int]:
    """The elements that have an outcome."""
    found = store.done([KEY])[KEY]
    assert isinstance(found, frozenset)
    return sorted(found)


def names(cluster: Cluster, jobs: JobArray[int]) -> list[str]:
    """The files in the outcomes of a submission, without hidden ones, which a process may be writing."""
    directory = f"{jobs.directory}/{OUTCOMES}"
    return sorted(name for name in cluster.place.transport.list([directory])[directory] if not name.startswith("."))


def other_client(cluster: Cluster) -> Cluster:
    """A client of the same queue and root that knows nothing yet."""
    return Cluster("inline", root=cluster.url.partition("://")[2], python=sys.executable)


# The record.


@given(st.sets(st.integers(0, 40)))
def test_a_shared_outcome_has_its_elements(elements: set[int]) -> None:
    written = SharedOutcome.of(elements, CANCELLED).dumps()
    read = SharedOutcome.loads(written, where="here")
    assert list(read) == sorted(elements)
    assert {element for element in range(-1, 42) if element in read} == elements
    assert read.outcome == CANCELLED


@pytest.mark.parametrize("bounds", [(0,), (3, 2), (5, 6, 1, 2), (-1, 2), (0, 10**30)])
def test_a_shared_outcome_with_invalid_ranges_is_damaged(bounds: tuple[int, ...]) -> None:
    record = SharedOutcome(bounds=bounds, outcome=CANCELLED).dumps()
    with pytest.raises(ProtocolError, match="bounds"):
        SharedOutcome.loads(record, where="here")


def test_a_success_cannot_be_shared() -> None:
    record = SharedOutcome(bounds=(0, 1), outcome=CANCELLED.replace(status="succeeded")).dumps()
    with pytest.raises(ProtocolError, match="cannot share a result"):
        SharedOutcome.loads(record, where="here")


# The store.


def test_every_reader_finds_a_shared_outcome(store: JobStore, outcomes: Path) -> None:
    store.commit_shared(KEY, [0, 1, 2, 7], CANCELLED)
    assert done(store) == [0, 1, 2, 7]
    assert store.outcomes(KEY, range(4), chunk=1) == dict.fromkeys(range(3), CANCELLED)
    assert store.outcomes(KEY, range(4), chunk=4) == dict.fromkeys(range(4), CANCELLED)
    assert store.read_results(KEY, range(4), chunk=1).elements == dict.fromkeys(range(3), CANCELLED)
    assert [path.name for path in outcomes.iterdir()] == [shared_name(0)]


def test_an_outcome_of_its_own_overrides_a_shared_one(store: JobStore, outcomes: Path, tmp_path: Path) -> None:
    store.commit_shared(KEY, [0, 1], CANCELLED)
    store.commit(KEY, OUTCOMES, {outcome_name(1): TIMEOUT.dumps()})
    expected = {0: CANCELLED, 1: TIMEOUT}
    assert store.several_outcomes({KEY: [0, 1]})[KEY].read == expected
    assert store.read_results(KEY, [0, 1], chunk=1).elements == expected
    resolver = PlaceholderResolver(str(tmp_path), lag=0)
    assert {index: resolver._outcome(KEY, index, 1) for index in range(2)} == expected


def test_what_several_clients_write_is_written_once(store: JobStore, outcomes: Path, tmp_path: Path) -> None:
    store.commit_shared(KEY, range(5), CANCELLED)
    other = JobStore(LocalTransport(), str(tmp_path))
    other.commit_shared(KEY, range(1, 4), CANCELLED)
    assert len(list(outcomes.iterdir())) == 1
    other.commit_shared(KEY, range(3, 9), TIMEOUT)
    assert done(store) == [*range(9)]
    assert store.outcomes(KEY, [4, 5], chunk=1) == {4: CANCELLED, 5: TIMEOUT}


def test_a_damaged_shared_outcome_hides_no_other(
    store: JobStore, outcomes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (outcomes / shared_name(0)).write_text("{")
    (outcomes / shared_name(0)).chmod(0o600)
    store.commit(KEY, OUTCOMES, {outcome_name(9): TIMEOUT.dumps()})
    store.commit_shared(KEY, [0], CANCELLED)
    for _ in range(3):
        assert done(store) == [0, 9]
    assert store.outcomes(KEY, [0], chunk=1) == {0: CANCELLED}
    assert [record.getMessage().count(shared_name(0)) for record in caplog.records] == [1]


def test_a_shared_outcome_is_read_once(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.commit_shared(KEY, range(5), CANCELLED)
    store.done([KEY])
    monkeypatch.setattr(store._transport, "get_each", None)
    assert done(store) == [*range(5)]


# On a node.


def test_a_call_whose_upstream_was_cancelled_in_a_range_says_so(store: JobStore, tmp_path: Path) -> None:
    store.commit_shared(KEY, [3], TIMEOUT)
    store.commit_shared(KEY, [4, 5], CANCELLED)
    with pytest.raises(UpstreamFailed, match=r"-00000000\[5\] failed: CANCELLED"):
        PlaceholderResolver(str(tmp_path), lag=0)(("job", KEY, 5, 1))


def test_a_damaged_shared_outcome_hides_no_other_on_a_node(store: JobStore, outcomes: Path, tmp_path: Path) -> None:
    (outcomes / shared_name(0)).write_text("{")
    (outcomes / shared_name(0)).chmod(0o600)
    store.commit_shared(KEY, [5], CANCELLED)
    resolver = PlaceholderResolver(str(tmp_path), lag=0)
    with pytest.raises(UpstreamFailed, match=r"\[5\] failed: CANCELLED"):
        resolver(("job", KEY, 5, 1))
    with pytest.raises(ProtocolError, match=shared_name(0)):
        resolver(("job", KEY, 6, 1))


# The life of a submission.


def test_cancelling_many_elements_that_never_began_writes_one_file(inline: InlineCluster) -> None:
    with inline.queue.held():
        jobs = square.map(range(1000))
        jobs.cancel()
        assert isinstance(jobs[999].exception(WAIT), JobCancelled)
        assert isinstance(jobs[0].exception(WAIT), JobCancelled)
    assert names(inline, jobs) == [shared_name(0)]
    again = other_client(inline).job(jobs.key)
    assert isinstance(again, JobArray)
    assert "1000 CANCELLED" in again.summary()
    assert {type(error) for error in again.results(return_exceptions=True)} == {JobCancelled}
    assert again[5].cancelled()


def test_a_single_element_has_a_file_of_its_own(inline: InlineCluster) -> None:
    with inline.queue.held():
        jobs = square.map([1])
        jobs.cancel()
        assert type(jobs.exceptions(WAIT)[0]) is JobCancelled
        assert names(inline, jobs) == [outcome_name(0)]


def test_elements_that_began_have_files_of_their_own(inline: InlineCluster) -> None:
    inline.queue.play("OUT_OF_MEMORY", task="square", element=1)
    jobs = square.map(range(3))
    assert [type(job.exception(WAIT)) for job in jobs] == [type(None), JobOutOfMemory, type(None)]
    assert names(inline, jobs) == ["0.json", "1.json", "2.json"]


def test_elements_that_may_run_again_have_files_of_their_own(inline: InlineCluster) -> None:
    with inline.queue.held():
        jobs = square.with_options(retry=Retry(times=1)).map(range(4))
        jobs.cancel()
        assert {type(job.exception(WAIT)) for job in jobs} == {JobCancelled}
    assert names(inline, jobs) == [f"{element}.json" for element in range(4)]


def test_elements_whose_upstream_failed_share_an_outcome(inline: InlineCluster) -> None:
    inline.queue.play("TIMEOUT", task="square", element=0)
    with inline.queue.held():
        first = square(2)
        jobs = square.after(first).map(range(50))
    errors = [job.exception(WAIT) for job in jobs]
    assert {type(error) for error in errors} == {DependencyFailed}
    assert names(inline, jobs) == [shared_name(0)]
    gc.collect()
    found = other_client(inline).job(f"{jobs.key}[49]").exception(WAIT)  # type: ignore[union-attr]
    assert str(found) == str(errors[49])


# What waits for room in the queue.


def test_elements_that_waited_for_room_share_an_outcome(inline: InlineCluster) -> None:
    inline.queue.most_queued = 3
    with inline.queue.held():
        jobs = square.map(range(1000))
        jobs.cancel()
        assert {type(error) for error in jobs.results(WAIT, return_exceptions=True)} == {JobCancelled}
    found = names(inline, jobs)
    assert shared_name(0) in found
    assert len(found) < 10  # a block that was being queued at that moment has files of its own


def test_some_of_what_waits_for_room_is_cancelled_by_itself(inline: InlineCluster) -> None:
    inline.queue.most_queued = 3
    with inline.queue.held():
        jobs = square.map(range(6))
        jobs[4].cancel()
        assert names(inline, jobs) == ["4.json"]
    found = jobs.results(WAIT, return_exceptions=True)
    assert [type(each) for each in found] == [int, int, int, int, JobCancelled, int]


def test_a_refusal_of_what_waited_for_room_is_shared(inline: InlineCluster) -> None:
    inline.queue.most_queued = 3
    with inline.queue.held():
        jobs = square.map(range(50))
        inline.queue.answer(Answer.REFUSED, times=99)
    assert isinstance(jobs[49].exception(WAIT), JobNotStarted)
    assert shared_name(0) in names(inline, jobs)
    assert len(names(inline, jobs)) < 10


def test_what_another_client_queues_while_it_is_cancelled_has_its_own_outcome(inline: InlineCluster) -> None:
    inline.queue.most_queued = 3
    with inline.queue.held():
        jobs = square.map(range(9))
        watched, store = jobs.part.state, inline.place.store
        first = watched.unqueued[0]
        claim = Claim(group=f"{first}.0-other", options={}, retries=0, reason="there is room", count=2)
        assert write_claims(store, jobs.key, {(first, 0): claim})
        jobs.cancel()
        assert {f"{first}.json", f"{first + 1}.json", shared_name(0)} <= {*names(inline, jobs)}
        assert f"{first + 2}.json" not in names(inline, jobs)


def test_a_block_is_not_queued_if_it_is_cancelled_after_it_was_claimed(
    inline: InlineCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline.queue.most_queued = 3
    with inline.queue.held():
        jobs = square.map(range(6))
        place, other, _ = other_client(inline).job(jobs.key).part

        def claimed(store: JobStore, key: str, claims: Mapping[tuple[int, int], Claim]) -> list[tuple[int, int]]:
            won = write_claims(store, key, claims)
            store.commit_shared(key, other.unqueued, CANCELLED)
            return won

        monkeypatch.setattr(attempts, "write_claims", claimed)
        monkeypatch.setattr(place.queue.client, "room", lambda _: 30)  # the limits are read once
        inline.queue.most_queued = 30
        queued = inline.queue.ids
        place.deferred.advance(other)
        assert inline.queue.ids == queued
        assert {type(error) for error in jobs[2:].results(WAIT, return_exceptions=True)} == {JobCancelled}
