"""The life of a submission on an inline cluster: final states, resubmission, deferred submission, dependencies."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slurm import Callback, Cluster, JobArray, Retry, current_job, errors, task, workflow
from slurm.errors import (
    DependencyFailed,
    JobCancelled,
    JobError,
    JobLost,
    JobNotStarted,
    JobOutOfMemory,
    JobPreempted,
    JobTimedOut,
    NodeFailed,
    SubmissionRefused,
)
from slurm.protocol.states import JobState
from slurm.tasks.active import _default
from slurm.testing import REQUEUE, Answer, InlineCluster
from waiting import until

if TYPE_CHECKING:
    from slurm import Job
    from slurm.callbacks import CompleteEvent

ENDS = {
    "TIMEOUT": JobTimedOut,
    "OUT_OF_MEMORY": JobOutOfMemory,
    "NODE_FAIL": NodeFailed,
    "PREEMPTED": JobPreempted,
    "CANCELLED": JobCancelled,
    "BOOT_FAIL": JobNotStarted,
    "DEADLINE": JobNotStarted,
}
WAIT = 60.0
"""The bound of a hang, in seconds."""


@task
def square(x: int) -> int:
    return x * x


@task
def total(values: list[int]) -> int:
    return sum(values)


@task
def attempt() -> int:
    return current_job().attempt


@task
def negative(x: int) -> int:
    if x < 0:
        raise ValueError(x)
    return x


def ends(jobs: JobArray[int]) -> list[object]:
    """The result of each job, or the class of its error."""
    return [type(error) if (error := job.exception(WAIT)) else job.result(WAIT) for job in jobs]


def other_client(cluster: Cluster) -> Cluster:
    """A client of the same queue and root that knows nothing yet."""
    return Cluster("inline", root=cluster.url.partition("://")[2], python=sys.executable)


# Ends.


@pytest.mark.parametrize("state", ENDS)
def test_a_state_of_the_scheduler_is_its_exception(inline: InlineCluster, state: str) -> None:
    inline.queue.play(state, task="square", element=1, reason="of the test")
    jobs = square.map(range(3))
    assert ends(jobs) == [0, ENDS[state], 4]
    error = jobs[1].exception(WAIT)
    assert isinstance(error, JobError)
    assert error.job_id == jobs[1].job_id
    assert error.log == f"{jobs[1].directory}/logs/1.log"
    assert jobs[1].status().state == state


@pytest.mark.parametrize("state", ENDS)
def test_accounting_tells_the_end_of_a_forgotten_job(inline: InlineCluster, state: str) -> None:
    inline.queue.play(state)
    with inline.queue.held():
        job = square(2)
        inline.queue.forget(inline.queue.ids[-1])
    assert type(job.exception(WAIT)) is ENDS[state]


def test_a_forgotten_job_without_accounting_is_lost(inline: InlineCluster) -> None:
    inline.queue.accounting_lag = None
    inline.queue.play("TIMEOUT")
    with inline.queue.held():
        job = square(2)
        inline.queue.forget(inline.queue.ids[-1])
    assert type(job.exception(WAIT)) is JobLost


def test_a_result_counts_more_than_the_state_of_its_job(inline: InlineCluster) -> None:
    inline.queue.play("NODE_FAIL", after_run=True)
    assert square(3).result(WAIT) == 9


def test_the_exception_of_a_task_is_raised_with_its_job(inline: InlineCluster) -> None:
    assert ends(negative.map([1, -1])) == [1, ValueError]


def test_a_silent_scheduler_delays_no_result(inline: InlineCluster) -> None:
    inline.queue.silent = True
    assert square(3).result(WAIT) == 9


def test_a_silent_scheduler_ends_no_job(inline: InlineCluster) -> None:
    with inline.queue.held():
        job = square(3)
        inline.queue.silent = True
        with pytest.raises(TimeoutError):
            job.result(1.0)
    assert job.result(WAIT) == 9


@pytest.mark.parametrize("chunk", [2, 3])
def test_the_end_of_an_element_is_that_of_all_its_calls(inline: InlineCluster, chunk: int) -> None:
    inline.queue.play("TIMEOUT", element=1)
    found = ends(square.with_options(chunk_size=chunk).map(range(5)))
    assert found == [JobTimedOut if x // chunk == 1 else x * x for x in range(5)]


# Cancelling.


def test_cancel_ends_what_waits(inline: InlineCluster) -> None:
    with inline.queue.held():
        jobs = square.map(range(2))
        jobs[0].cancel()
        assert type(jobs[0].exception(WAIT)) is JobCancelled
    assert jobs[1].result(WAIT) == 1


def test_a_dependent_of_a_cancelled_job_fails(inline: InlineCluster) -> None:
    with inline.queue.held():
        job = square(2)
        after = square(job)
        job.cancel()
    assert type(after.exception(WAIT)) is DependencyFailed


# Submitting.


def test_a_refusal_is_raised_with_the_words_of_the_scheduler(inline: InlineCluster) -> None:
    inline.queue.answer(Answer.REFUSED)
    with pytest.raises(SubmissionRefused, match="on request") as caught:
        square(2)
    assert caught.value.certain
    assert inline.queue.ids == []


def test_a_submit_command_without_an_answer_is_not_repeated(inline: InlineCluster) -> None:
    inline.queue.answer(Answer.SILENT)
    assert square(2).result(WAIT) == 4
    assert len(inline.queue.ids) == 1


def test_a_transient_failure_is_submitted_again(inline: InlineCluster) -> None:
    inline.queue.answer(Answer.LATER)
    assert square(2).result(WAIT) == 4
    assert len(inline.queue.ids) == 1


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_map_larger_than_an_array_is_several(inline: InlineCluster, size: int) -> None:
    inline.queue.max_array_size = size
    inline.queue.play("TIMEOUT", element=4)
    assert ends(square.map(range(5))) == [0, 1, 4, 9, JobTimedOut]
    assert len(inline.queue.ids) == -(-5 // size)


@pytest.mark.parametrize(
    ("options", "calls", "workers"),
    [({}, 1, 0), ({"chunk_size": 2}, 2, 0), ({"workers": 2}, 2, 2), ({"chunk_size": 4, "workers": 2}, 4, 2)],
)
def test_an_element_makes_several_calls_in_workers(
    inline: InlineCluster, options: dict[str, Any], calls: int, workers: int
) -> None:
    with inline.queue.held():
        jobs = square.with_options(**options).map(range(4))
        assert len(inline.queue.ids) == 1
        script = Path(jobs.directory, "script.sh").read_text()
        assert f' {calls} {workers} "$attempt"' in script


@pytest.mark.parametrize("after", [None, "TIMEOUT"])
def test_what_has_no_room_in_the_queue_is_submitted_later(inline: InlineCluster, after: str | None) -> None:
    inline.queue.most_queued = 3
    if after:
        inline.queue.play(after, element=5)
    jobs = square.map(range(6))
    assert ends(jobs) == [0, 1, 4, 9, 16, ENDS[after] if after else 25]
    assert len(inline.queue.ids) > 1


def test_an_element_of_what_was_submitted_later_is_submitted_again_as_itself(inline: InlineCluster) -> None:
    inline.queue.most_queued = 3
    inline.queue.play("NODE_FAIL", element=3)
    jobs = square.with_options(retry=1).map(range(4))
    assert jobs.results(WAIT) == [0, 1, 4, 9]
    assert Path(jobs.directory, "attempts", "3.1.next.json").exists()


def test_a_refusal_of_what_waited_for_room_is_its_end(inline: InlineCluster) -> None:
    inline.queue.most_queued = 3
    with inline.queue.held():
        jobs = square.map(range(4))
        inline.queue.answer(Answer.REFUSED, times=9)
    assert ends(jobs)[-1] is JobNotStarted


def test_commands_are_counted_by_their_kind(inline: InlineCluster) -> None:
    assert inline.command_counts() == {"limits": 1}
    with inline.queue.held():
        job = square(2)
        assert inline.command_counts() == {"limits": 1, "submit": 1}
        job.status()
        assert inline.command_counts() == {"limits": 1, "submit": 1, "query": 1}


# Memory.


def known(cluster: Cluster) -> list[object]:
    """What this process keeps of submissions: without rubbish."""
    gc.collect()
    return [*cluster.place.registry.all()]


def test_an_ended_submission_is_kept_by_its_handles_only(inline: InlineCluster) -> None:
    jobs = square.map(range(5))
    assert sum(jobs.results()) == 30
    first = jobs[0]
    del jobs
    assert known(inline)
    del first
    until(lambda: not known(inline))


def test_a_callback_is_called_though_no_handle_is_left(inline: InlineCluster) -> None:
    results: list[int] = []
    with inline.queue.held():
        square(2).add_done_callback(lambda job: results.append(job.result()))
        assert known(inline)
    until(lambda: results == [4] and not known(inline))


def test_a_callback_of_the_cluster_is_called_though_no_handle_is_left() -> None:
    states: list[str] = []

    class States(Callback):
        def on_complete(self, event: CompleteEvent) -> None:
            states.append(event.state)

    with InlineCluster(callbacks=[States()]) as cluster:
        with cluster.queue.held():
            square.map(range(3))
            assert known(cluster)
        until(lambda: states == ["COMPLETED"] * 3 and not known(cluster))


def test_a_submission_that_waits_for_room_is_queued_though_no_handle_is_left(inline: InlineCluster) -> None:
    inline.queue.most_queued = 3
    key = square.map(range(5)).key
    until(lambda: not known(inline))
    assert inline.job(key).results() == [0, 1, 4, 9, 16]  # type: ignore[union-attr]


def test_an_upstream_is_kept_until_its_dependent_has_ended(inline: InlineCluster) -> None:
    inline.queue.play("TIMEOUT", task="square")
    with inline.queue.held():
        last = square(2)
        for _ in range(5):
            last = square(last)
        assert len(known(inline)) == 6
    assert isinstance(last.exception(WAIT), DependencyFailed)
    until(lambda: len(known(inline)) == 1)


# Another client.


def test_another_client_finds_ends_and_results(inline: InlineCluster) -> None:
    inline.queue.play("TIMEOUT", element=1)
    jobs = square.map(range(3))
    found = other_client(inline).job(jobs.key)
    assert isinstance(found, JobArray)
    assert ends(found) == [0, JobTimedOut, 4]


@pytest.mark.parametrize("size", [2, 1000])
def test_another_client_finds_jobs_whose_ids_were_not_recorded(inline: InlineCluster, size: int) -> None:
    inline.queue.max_array_size = size
    with inline.queue.held():
        jobs = square.map(range(3))
        record = f"{inline.url.partition('://')[2]}/jobs/{jobs.key}/submitted.json"
        os.unlink(record)
        found = other_client(inline).job(jobs.key)
        assert isinstance(found, JobArray)
        assert found[0].status().state is JobState.PENDING
        assert os.path.exists(record)
    assert ends(found) == [0, 1, 4]


# Resubmission.


def test_a_requeued_element_runs_as_its_second_attempt(inline: InlineCluster) -> None:
    inline.queue.play(REQUEUE)
    assert attempt().result(WAIT) == 2


@pytest.mark.parametrize("state", ["NODE_FAIL", "PREEMPTED", "BOOT_FAIL"])
@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_retry_survives_so_many_failures(inline: InlineCluster, state: str, failures: int) -> None:
    inline.queue.play(state, times=failures)
    job = attempt.with_options(retry=Retry(times=2))()
    if failures < 3:
        assert job.result(WAIT) == failures + 1
    else:
        assert type(job.exception(WAIT)) is ENDS[state]


@pytest.mark.parametrize(("on", "survives"), [(("JobTimedOut",), True), (("NodeFailed",), False)])
def test_a_retry_survives_the_failures_that_it_names(
    inline: InlineCluster, on: tuple[str, ...], survives: bool
) -> None:
    inline.queue.play("TIMEOUT", element=1)
    found = ends(square.with_options(retry=Retry(times=1, on=on)).map(range(3)))
    assert found == [0, 1 if survives else JobTimedOut, 4]


def test_a_task_that_raises_is_retried_on_its_exception(inline: InlineCluster) -> None:
    jobs = negative.with_options(retry=Retry(times=1, on=ValueError)).map([1, -1])
    assert ends(jobs) == [1, ValueError]
    assert len(inline.queue.ids) >= 2


def test_a_resubmitted_element_has_the_memory_that_its_retry_gives(inline: InlineCluster) -> None:
    inline.queue.play("OUT_OF_MEMORY")

    @task(mem="1G", retry=Retry(times=1, mem="x2"))
    def memory() -> int:
        return current_job().attempt

    job = memory()
    assert job.result(WAIT) == 2


def test_a_dependent_waits_for_the_attempt_that_succeeds(inline: InlineCluster) -> None:
    inline.queue.play("NODE_FAIL", task="square")
    first = square.with_options(retry=Retry(times=1))(3)
    assert total([first, 1]).result(WAIT) == 10  # type: ignore[list-item]


# Dependencies.


@pytest.mark.parametrize("state", [None, *ENDS])
@pytest.mark.parametrize("on", ["success", "failure", "any"])
def test_after_runs_on_its_condition(inline: InlineCluster, state: str | None, on: str) -> None:
    if state:
        inline.queue.play(state, task="negative")
    with inline.queue.held():
        first = negative(1)
        second = square.after(first, on=on)(3)  # type: ignore[arg-type]
    if {"success": state is None, "failure": state is not None, "any": True}[on]:
        assert second.result(WAIT) == 9
    else:
        error = second.exception(WAIT)
        assert type(error) is DependencyFailed
        assert first.key in str(error)


@pytest.mark.parametrize("finished", [False, True])
def test_only_the_pair_of_a_failed_element_fails(inline: InlineCluster, finished: bool) -> None:
    inline.queue.play("TIMEOUT", task="negative", element=1)
    first = negative.map(range(3))
    if finished:
        assert ends(first) == [0, JobTimedOut, 2]
    assert ends(square.map(first)) == [0, DependencyFailed, 4]


def test_a_result_of_one_element_needs_no_other(inline: InlineCluster) -> None:
    inline.queue.play("TIMEOUT", task="negative", element=1)
    with inline.queue.held():
        first = negative.map(range(3))
        jobs: list[Job[int]] = [square(first[index]) for index in range(3)]
    assert [type(job.exception(WAIT)) for job in jobs] == [type(None), DependencyFailed, type(None)]


def test_all_results_need_all_elements(inline: InlineCluster) -> None:
    first = negative.map(range(3))
    assert total(first).result(WAIT) == 3
    inline.queue.play("TIMEOUT", task="negative", element=2)
    assert type(total(negative.map(range(3))).exception(WAIT)) is DependencyFailed


# Workflows.


@workflow
def squares(count: int) -> int:
    return sum(square.map(range(count)).results())


def test_a_workflow_submits_from_this_process(inline: InlineCluster) -> None:
    first, second = squares(3), squares(4)
    assert (first.result(WAIT), second.result(WAIT)) == (5, 14)


def test_a_workflow_that_is_requeued_finds_its_children(inline: InlineCluster, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    @workflow(retry=Retry(times=1, on=RuntimeError))
    def once() -> int:
        found = square(5).result()
        if not mark.exists():
            mark.touch()
            raise RuntimeError
        return found

    assert once().result(WAIT) == 25
    assert len(other_client(inline).jobs("square")) == 1


def test_a_failure_in_a_workflow_is_its_own(inline: InlineCluster) -> None:
    inline.queue.play("OUT_OF_MEMORY", task="square", element=1)
    assert isinstance(squares(3).exception(WAIT), errors.JobOutOfMemory)


def test_a_job_whose_cluster_ended_before_it_is_lost() -> None:
    with InlineCluster() as cluster, cluster.queue.held():
        jobs = [square(3), square.map(range(2))[1]]
    assert [type(job.exception(WAIT)) for job in jobs] == [JobLost, JobLost]


def test_workflows_that_overlap_leave_no_cluster_active() -> None:
    before = list(_default)
    with InlineCluster():
        jobs = [squares(count) for count in (1, 3, 2, 4)]
        assert [job.result(WAIT) for job in jobs] == [0, 5, 1, 14]
    assert _default == before
