"""Resubmitter: who submits the next attempt of an element, with what, and what is final without one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slurm import Cluster, Retry, task
from slurm.errors import SubmissionRefused
from slurm.protocol import ATTEMPTS, FAILED, PROCESS, RESOLVE, RUN, STOPPED, attempt_name
from slurm.protocol.outcomes import ErrorRecord, Outcome
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report
from slurm.submission.job_queue import JobQueue
from slurm.submission.status import FinalStatus
from slurm.submission.timings import Timings
from slurm.testing import Answer, InlineCluster
from slurm.tracking import attempts
from slurm.tracking.attempts import Claim
from slurm.tracking.resubmit import Resubmitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slurm import JobArray
    from slurm.schedulers.base import Dependency

NEVER, AT_ONCE = Timings(abandoned_claim=60.0), Timings(abandoned_claim=-1.0)
KILLED = Outcome(status=FAILED, phase=PROCESS, exit_code=137)
STOPPED_ONCE = Outcome(status=FAILED, phase=STOPPED, exit_code=143)
RAISED = Outcome(status=FAILED, phase=RUN, exit_code=1, error=ErrorRecord(type="ValueError", message="odd"))


@task(mem="1G", retry=Retry(times=2, on=("NodeFailed", "JobOutOfMemory"), mem="x2"))
def square(x: int) -> int:
    return x * x


@task
def half(x: int) -> int:
    return x // 2


def status(state: JobState, reason: str = "", *, waited: bool = False) -> FinalStatus:
    return FinalStatus(state, Report("1", None, state, state.value, "n1", reason, dependency_failed=waited))


LOST_NODE = status(JobState.NODE_FAIL)
WAITED = status(JobState.CANCELLED, waited=True)


@pytest.fixture
def inline() -> Iterator[InlineCluster]:
    """A cluster whose queue starts nothing."""
    with InlineCluster() as cluster, cluster.queue.held():
        yield cluster


def resubmit(
    jobs: JobArray[int],
    statuses: Mapping[int, FinalStatus],
    *,
    records: Mapping[tuple[int, int], Outcome | bytes] | None = None,
    waiting: Sequence[int] = (),
    timings: Timings = NEVER,
    final: bool = True,
    check: Callable[[], None] = lambda: None,
) -> Mapping[int, Outcome | None]:
    """Resubmit elements as a client does that finds these records of attempts."""
    place, state, _ = jobs.part
    files = {attempt_name(*which): r if isinstance(r, bytes) else r.dumps() for which, r in (records or {}).items()}
    place.store.commit(state.key, ATTEMPTS, files)
    made = Resubmitter(place.requests, check=lambda _: check(), timings=timings, refusals_are_final=final)
    return made.resubmit(state, statuses, waiting)


def claims(jobs: JobArray[int]) -> dict[tuple[int, int], Claim]:
    place, state, _ = jobs.part
    return attempts.AttemptRecords(place.store, state.key, range(state.elements)).claims


def tasks(cluster: InlineCluster) -> list[list[int]]:
    """The array tasks of each job in the queue, retry jobs left out."""
    found = (cluster.queue.elements([id_]) for id_ in cluster.queue.ids)
    return [[element.task for _, element in of_job] for of_job in found if not of_job[0][0].is_retry_job]


def dependencies(cluster: InlineCluster) -> Sequence[Dependency]:
    """The dependencies of the newest job."""
    found = (cluster.queue.elements([id_])[0][0] for id_ in cluster.queue.ids)
    return [job for job in found if not job.is_retry_job][-1].after


def test_failed_elements_run_again_in_one_job_with_their_changed_options(inline: InlineCluster) -> None:
    jobs = square.map(range(3))
    before = {job.index: job.job_id for job in jobs}
    assert resubmit(jobs, {0: LOST_NODE, 2: LOST_NODE}) == {}
    assert tasks(inline) == [[0, 1, 2], [0, 2]]
    assert [jobs[index].job_id == before[index] for index in range(3)] == [False, True, False]
    found = claims(jobs)
    assert found.keys() == {(0, 1), (2, 1)}
    assert {(claim.retries, claim.reason, claim.count) for claim in found.values()} == {(1, "NodeFailed", 2)}
    assert not jobs.part.state.resubmission_paused


def test_without_arrays_each_element_runs_again_in_a_job_of_its_own(
    inline: InlineCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = square.map(range(3))
    monkeypatch.setattr(JobQueue, "has_arrays", False)  # the limit of a Slurm with MaxArraySize=0
    assert resubmit(jobs, {1: LOST_NODE, 2: LOST_NODE}) == {}
    assert tasks(inline) == [[0, 1, 2], [0], [0]]
    own = [jobs.part.state.block(index) for index in (1, 2)]
    assert [(block.first, block.count, block.array) for block in own if block] == [(1, 1, False), (2, 1, False)]


def test_elements_with_different_options_run_again_in_different_jobs(inline: InlineCluster) -> None:
    jobs = square.map(range(3))
    assert resubmit(jobs, {0: LOST_NODE, 1: status(JobState.OUT_OF_MEMORY), 2: LOST_NODE}) == {}
    assert tasks(inline) == [[0, 1, 2], [0, 2], [1]]
    assert {which: claim.options["mem"] for which, claim in claims(jobs).items()} == {
        (0, 1): "1G",
        (1, 1): "2048M",
        (2, 1): "1G",
    }


def test_retries_end_when_all_are_used(inline: InlineCluster) -> None:
    jobs = square.map(range(2))
    for retries in (1, 2):
        assert resubmit(jobs, {1: status(JobState.OUT_OF_MEMORY)}) == {}
        assert claims(jobs)[1, retries].retries == retries
    assert claims(jobs)[1, 2].options["mem"] == "4096M"
    assert resubmit(jobs, {1: status(JobState.OUT_OF_MEMORY)}) == {1: None}
    assert tasks(inline) == [[0, 1], [1], [1]]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (status(JobState.TIMEOUT), None),
        (status(JobState.CANCELLED), None),
        (status(JobState.PREEMPTED), None),
    ],
    ids=str,
)
def test_other_failures_are_final(inline: InlineCluster, found: FinalStatus, expected: Outcome | None) -> None:
    jobs = square.map(range(2))
    assert resubmit(jobs, {1: found}) == {1: expected}
    assert tasks(inline) == [[0, 1]]


@pytest.mark.parametrize(
    ("record", "state", "reason", "expected"),
    [
        (KILLED, JobState.TIMEOUT, "TimeLimit", ("TIMEOUT", "TimeLimit")),
        (KILLED, JobState.FAILED, "NonZeroExitCode", (None, None)),
        (KILLED, JobState.LOST, "", (None, None)),
        (RAISED, JobState.TIMEOUT, "TimeLimit", (None, None)),
    ],
)
def test_the_record_of_the_last_attempt_is_final_with_the_state_that_the_scheduler_gives(
    inline: InlineCluster, record: Outcome, state: JobState, reason: str, expected: tuple[str | None, str | None]
) -> None:
    jobs = square.map(range(2))
    final = resubmit(jobs, {1: status(state, reason)}, records={(1, 1): record})[1]
    assert final is not None
    assert (final.state, final.reason) == expected
    assert final.phase == record.phase
    assert tasks(inline) == [[0, 1]]


def test_without_a_report_the_final_outcome_has_the_state_without_a_reason(inline: InlineCluster) -> None:
    jobs = square.map(range(2))
    final = resubmit(jobs, {1: FinalStatus(JobState.TIMEOUT, None)}, records={(1, 1): KILLED})[1]
    assert final is not None
    assert (final.state, final.reason) == ("TIMEOUT", None)
    assert len(tasks(inline)) == 1


def test_a_stopped_element_that_was_cancelled_has_no_outcome_of_its_own(inline: InlineCluster) -> None:
    jobs = square.map(range(2))
    assert resubmit(jobs, {1: status(JobState.CANCELLED)}, records={(1, 1): STOPPED_ONCE}) == {1: None}
    assert len(tasks(inline)) == 1


@pytest.mark.parametrize("times", [1, 2])
def test_a_stopped_element_goes_on_as_often_as_it_may(inline: InlineCluster, times: int) -> None:
    jobs = square.with_options(max_restarts=times).map(range(2))
    for number in range(1, times + 1):
        assert resubmit(jobs, {1: LOST_NODE}, records={(1, number): STOPPED_ONCE}) == {}
        claim = claims(jobs)[1, number]
        assert (claim.reason, claim.retries, claim.options["mem"]) == ("checkpoint", 0, "1G")
    final = resubmit(jobs, {1: status(JobState.TIMEOUT)}, records={(1, times + 1): STOPPED_ONCE})[1]
    assert final is not None
    assert (final.phase, final.state, final.reason) == (PROCESS, "TIMEOUT", "stopped once too often")
    assert len(tasks(inline)) == 1 + times


def test_an_element_that_waits_for_its_outcome_is_left_alone_unless_it_left_a_record(inline: InlineCluster) -> None:
    jobs = square.map(range(2))
    found = dict.fromkeys(range(2), LOST_NODE)
    assert resubmit(jobs, found, waiting=[0, 1], records={(1, 1): RAISED}) == {1: RAISED}
    assert tasks(inline) == [[0, 1]]


# A full queue, and refusals.


def test_a_full_queue_is_tried_again_after_a_pause(inline: InlineCluster) -> None:
    jobs = square.map(range(2))
    inline.queue.most_queued = len(inline.queue.live())
    assert resubmit(jobs, {1: LOST_NODE}) == {}
    assert (claims(jobs), tasks(inline)) == ({}, [[0, 1]])
    assert jobs.part.state.resubmission_paused
    inline.queue.most_queued = None
    assert resubmit(jobs, {1: LOST_NODE}) == {}  # within the pause, nothing is tried
    assert tasks(inline) == [[0, 1]]
    jobs.part.state.pause_resubmission(0.0)
    assert resubmit(jobs, {1: LOST_NODE}) == {}
    assert tasks(inline) == [[0, 1], [1]]


@pytest.mark.parametrize("final", [True, False])
def test_a_refusal_is_final_where_refusals_are(inline: InlineCluster, *, final: bool) -> None:
    jobs = square.map(range(3))
    inline.queue.answer(Answer.REFUSED, times=2)
    found = {1: LOST_NODE, 2: LOST_NODE}
    if final:
        assert resubmit(jobs, found, records={(2, 1): KILLED}) == {
            1: None,
            2: KILLED.replace(state="NODE_FAIL", reason=""),
        }
    else:
        with pytest.raises(SubmissionRefused):
            resubmit(jobs, found, records={(2, 1): KILLED}, final=False)
    assert (claims(jobs), tasks(inline)) == ({}, [[0, 1, 2]])


# Claims of other processes.


def claim(jobs: JobArray[int], *elements: int, **changes: Any) -> None:
    """Claim the second attempts of elements, as another process."""
    place, state, _ = jobs.part
    options = {**square.options.to_json(), **changes}
    made = Claim(group="0.1-other", options=options, retries=1, reason="of another", count=len(elements))
    attempts.write_claims(place.store, state.key, {(element, 1): made for element in elements})


def test_what_another_process_has_claimed_is_left_to_it(inline: InlineCluster) -> None:
    jobs = square.map(range(3))
    claim(jobs, 0)
    assert resubmit(jobs, {0: LOST_NODE, 1: LOST_NODE}) == {}
    assert tasks(inline) == [[0, 1, 2], [1]]
    assert jobs.part.state.resubmission_paused


def test_what_another_process_claims_at_the_same_moment_is_left_to_it(inline: InlineCluster) -> None:
    jobs = square.map(half.map(range(3)))
    assert resubmit(jobs, {0: WAITED, 1: WAITED}, check=lambda: claim(jobs, 1)) == {}
    assert tasks(inline)[2:] == [[0]]
    assert claims(jobs)[1, 1].reason == "of another"
    assert jobs.part.state.resubmission_paused


def test_an_abandoned_claim_is_submitted_as_it_was_written(inline: InlineCluster) -> None:
    jobs = square.map(range(3))
    claim(jobs, 0, 2, job_name="theirs")
    assert resubmit(jobs, {0: LOST_NODE}, timings=AT_ONCE) == {}
    assert tasks(inline) == [[0, 1, 2], [0, 2]]
    assert [jobs[index].part.state.block(index) is None for index in range(3)] == [False] * 3
    (name,) = {inline.queue.elements([id_])[0][0].environ["SLURM_JOB_NAME"] for id_ in inline.queue.ids[-2:]} - {
        "square-caretaker"
    }
    assert name == "theirs"


def test_a_job_whose_client_died_before_it_recorded_the_id_is_not_submitted_twice(inline: InlineCluster) -> None:
    jobs = square.map(range(2))
    assert resubmit(jobs, {1: LOST_NODE}) == {}
    place, state, _ = jobs.part
    (record,) = Path(place.store.directory(state.key), ATTEMPTS).glob("*.blocks.json")
    record.unlink()
    other = Cluster("inline", root=inline.url.partition("://")[2], python=sys.executable).job(jobs.key)
    assert resubmit(other, {1: LOST_NODE}, timings=AT_ONCE) == {}  # type: ignore[arg-type]
    assert tasks(inline) == [[0, 1], [1]]
    assert record.exists()
    assert other.part.state.block(1) == state.block(1)


def test_an_element_that_another_process_has_moved_is_followed_there(inline: InlineCluster) -> None:
    jobs = square.map(range(2))
    assert resubmit(jobs, {1: LOST_NODE}) == {}
    other = InlineCluster(root=inline.url.partition("://")[2]).job(jobs.key)
    state = other.part.state
    state.move(1, state.submitted.blocks[0])  # type: ignore[union-attr]
    assert resubmit(other, {1: LOST_NODE}) == {}  # type: ignore[arg-type]
    assert tasks(inline) == [[0, 1], [1]]
    moved = state.block(1)
    assert moved is not None
    assert (moved.attempts, moved.tasks) == (1, (1,))


@pytest.mark.parametrize("timings", [NEVER, AT_ONCE], ids=["recent", "old"])
def test_an_element_with_a_damaged_claim_never_runs_again(inline: InlineCluster, timings: Timings) -> None:
    jobs = square.map(range(2))
    place, state, _ = jobs.part
    place.store.commit(state.key, ATTEMPTS, {attempts.claim_name(1, 1): b"{"})
    found = resubmit(jobs, {1: LOST_NODE}, timings=timings)
    assert tasks(inline) == [[0, 1]]
    if timings is NEVER:
        assert (found, state.resubmission_paused) == ({}, True)
    else:
        assert found[1] is not None
        assert found[1].error is not None
        assert found[1].error.type == "ProtocolError"


# Dependencies.


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_an_element_whose_upstream_runs_again_waits_for_the_calls_that_it_needs(
    inline: InlineCluster, chunk: int
) -> None:
    first = half.map(range(6))
    jobs = square.with_options(chunk_size=chunk).map(first)
    ((_, (number,), _),) = dependencies(inline)
    assert resubmit(jobs, {1: WAITED}) == {}
    assert {claim.reason for claim in claims(jobs).values()} == {"what it waits for goes on"}
    every = tuple(f"{number}_{index}" for index in range(6))
    wanted = ("afterok", every[1:2]) if chunk == 1 else ("afterany", every)
    assert [(kind, ids) for kind, ids, _ in dependencies(inline)] == [wanted]


def test_elements_that_wait_for_their_counterparts_run_again_one_by_one(inline: InlineCluster) -> None:
    jobs = square.map(half.map(range(3)))
    assert resubmit(jobs, dict.fromkeys(range(3), WAITED)) == {}
    assert tasks(inline) == [[0, 1, 2], [0, 1, 2], [0], [1], [2]]


def test_an_element_whose_upstream_has_failed_has_ended(inline: InlineCluster) -> None:
    first = half.map(range(3))
    jobs = square.map(first)
    failed = Outcome(status=FAILED, phase=RUN, exit_code=1)
    place, upstream, _ = first.part
    place.store.commit(upstream.key, "outcomes", {"1.json": failed.dumps()})
    upstream.add_outcomes([1])
    record = Outcome(status=FAILED, phase=RESOLVE, exit_code=1)
    assert resubmit(jobs, {1: WAITED, 2: WAITED}, records={(1, 1): record}) == {1: record}
    assert tasks(inline)[2:] == [[2]]


def test_an_element_whose_upstream_may_have_ended_waits_until_that_is_known(inline: InlineCluster) -> None:
    first = half.map(range(3))
    jobs = square.map(first)
    report = LOST_NODE.report
    assert report is not None
    first.part.state.note_missing({0: report._replace(state=JobState.RUNNING), 1: report}, 0.0)
    assert resubmit(jobs, {1: WAITED}) == {}
    assert len(tasks(inline)) == 2
    assert jobs.part.state.resubmission_paused
