"""External jobs: what the scheduler's answer means for `.after("123")`, and what the waiting jobs become."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slurm import DependencyFailed, JobState, Retry, task
from slurm.errors import SchedulerError, SubmissionError
from slurm.protocol import ExternalJob, ResolvedEnvironment, Submission
from slurm.schedulers.base import Report, Site
from slurm.schedulers.job_control import Answers
from slurm.schedulers.slurm import SlurmScheduler
from slurm.submission.external_jobs import Verdict, ask, declared
from slurm.testing import InlineCluster

WAIT = 60.0
WORDS = {"R": "RUNNING", "P": "PENDING", "C": "COMPLETED", "F": "FAILED", "X": "CANCELLED", "T": "TIMEOUT"}


@task
def square(x: int) -> int:
    return x * x


class Client:
    """A client whose scheduler and accounting report tasks of job 7 by letters: "RFC" is tasks 0 to 2; "=C", a job."""

    def __init__(self, queue: str, accounting: str = "", trouble: str | None = None, silent: str = "") -> None:
        self.scheduler, self.history_trouble = SlurmScheduler(Site("python3", "zip")), silent
        self.queue, self.accounting, self.trouble = queue, accounting, trouble

    @staticmethod
    def reports(letters: str) -> list[Report]:
        plain = letters.startswith("=")
        pairs = enumerate(letters.lstrip("="))
        return [
            Report("7", None if plain else [at], JobState.parse(WORDS[letter]), WORDS[letter], "", "")
            for at, letter in pairs
            if letter != "."
        ]

    def query(self, ids: list[str]) -> Answers:
        assert ids == ["7"]
        return Answers(self.reports(self.queue), {"7"} if self.trouble else set(), self.trouble)

    def history(self, ids: list[str]) -> list[Report]:
        assert ids == ["7"]
        return self.reports(self.accounting)


@pytest.mark.parametrize(
    ("queue", "accounting", "success", "failure", "either"),
    [
        # One job.
        ("=P", "", "wait", "wait", "wait"),
        ("=R", "", "wait", "wait", "wait"),
        ("=C", "", "met", "never", "met"),
        ("=F", "", "never", "met", "met"),
        ("=X", "", "never", "met", "met"),
        ("", "", "forgotten", "forgotten", "forgotten"),
        ("", "=C", "met", "never", "met"),
        ("", "=T", "never", "met", "met"),
        ("", "=R", "forgotten", "forgotten", "forgotten"),  # it has ended, and the accounting does not know how
        # An array.
        ("PP", "", "wait", "wait", "wait"),
        ("CR", "", "wait", "wait", "wait"),
        ("FR", "", "never", "wait", "wait"),
        ("CC", "", "met", "never", "met"),
        ("CF", "", "never", "met", "met"),
        (".C", "F", "never", "met", "met"),  # the queue forgets tasks one by one
        (".C", "C", "met", "never", "met"),
        ("C", "F", "met", "never", "met"),  # accounting lags: a requeued task
        ("", "CF", "never", "met", "met"),
    ],
)
def test_the_states_of_a_job_decide(queue: str, accounting: str, success: str, failure: str, either: str) -> None:
    client = Client(queue, accounting)
    jobs = [ExternalJob(id="7", on=on) for on in ("success", "failure", "any")]
    assert [answer.verdict.value for answer in ask(client, jobs)] == [success, failure, either]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("id_", "verdict"),
    [("7_0", Verdict.MET), ("7_1", Verdict.NEVER), ("7_2", Verdict.WAIT), ("7_3", Verdict.FORGOTTEN)],
)
def test_one_task_of_an_array_decides_alone(id_: str, verdict: Verdict) -> None:
    (answer,) = ask(Client("CFR"), [ExternalJob(id=id_)])  # type: ignore[arg-type]
    assert answer.verdict is verdict


@pytest.mark.parametrize(
    ("queue", "id_", "success", "failure", "either"),
    [
        ("", "7", "forgotten", "forgotten", "forgotten"),
        ("=C", "7", "met", "never", "met"),
        ("=R", "7", "wait", "wait", "wait"),
        (".C", "7", "forgotten", "forgotten", "met"),  # the first task may have failed
        (".F", "7", "never", "met", "met"),
        (".R", "7", "wait", "wait", "wait"),  # the scheduler itself knows how the first has ended
        (".C", "7_1", "met", "never", "met"),
        (".C", "7_0", "forgotten", "forgotten", "forgotten"),
    ],
)
def test_nothing_is_concluded_while_the_accounting_is_silent(
    queue: str, id_: str, success: str, failure: str, either: str
) -> None:
    jobs = [ExternalJob(id=id_, on=on) for on in ("success", "failure", "any")]
    answers = ask(Client(queue, silent="Connection refused"), jobs)  # type: ignore[arg-type]
    assert [answer.verdict.value for answer in answers] == [success, failure, either]
    assert all(answer.silent == "Connection refused" for answer in answers if answer.verdict is Verdict.FORGOTTEN)


@pytest.mark.parametrize("wrong", ["", "abc", "7_", "7_x", "-7", "7 8", "7:8", "7,8", "7_1_2", "7;", "7\n", "$(id)"])
def test_a_malformed_id_is_an_error_that_shows_a_right_one(wrong: str) -> None:
    with pytest.raises(SubmissionError, match=r'expected the id of a job of slurm, such as "123"') as caught:
        ask(Client(""), [ExternalJob(id=wrong)])  # type: ignore[arg-type]
    assert repr(wrong) in str(caught.value)


def test_no_answer_is_an_error() -> None:
    with pytest.raises(SchedulerError, match="the controller is down"):
        ask(Client("", trouble="the controller is down"), [ExternalJob(id="7")])  # type: ignore[arg-type]


def test_each_job_is_recorded_once() -> None:
    assert declared([("7", "success"), ("8", "any"), ("7", "success")]) == (
        ExternalJob(id="7"),
        ExternalJob(id="8", on="any"),
    )
    assert declared([]) is None


def test_a_record_without_external_jobs_is_as_before() -> None:
    environment = ResolvedEnvironment(key="", python="python3", tag="3.11")
    fields = {"options": {}, "client": {}, "versions": {}, "environment": environment}
    record = Submission(key="f/1", task="f", count=1, mapped=False, created=1.0, **fields)  # type: ignore[arg-type]
    assert b"after" not in record.dumps()
    waiting = record.replace(after=(ExternalJob(id="7", on="any"),))
    assert Submission.loads(waiting.dumps(), where="") == waiting


@pytest.mark.parametrize(
    ("wrong", "error"), [(1.5, TypeError), (None, TypeError), (True, TypeError), ("f/2026-a", ValueError)]
)
def test_other_arguments_of_after_are_errors(wrong: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="after"):
        square.after(wrong)  # type: ignore[arg-type]


def test_a_call_waits_for_a_job_that_is_alive(inline: InlineCluster) -> None:
    inline.queue.play("TIMEOUT", task="square", element=0)
    with inline.queue.held():
        square.map([1, 2])
        number = inline.queue.ids[-1]
        task_ = square.with_options(job_name="other")
        one, whole, both = task_.after(f"{number}_1")(3), task_.after(number)(4), task_.after(int(number), on="any")(5)
    assert (one.result(WAIT), both.result(WAIT)) == (9, 25)
    assert isinstance(whole.exception(WAIT), DependencyFailed)


def test_a_call_after_a_job_that_fails_is_not_run(inline: InlineCluster) -> None:
    inline.queue.play("FAILED", task="square")
    with inline.queue.held():
        square(1)
        number = inline.queue.ids[-1]
        waiting = square.after(number).with_options(job_name="other", retry=Retry(2))(2)
        other = square.after(number, on="failure").with_options(job_name="other")(3)
    error = waiting.exception(WAIT)
    assert isinstance(error, DependencyFailed)
    assert f"it waited for jobs {number} (success), which did not end so, or are forgotten" in str(error)
    assert other.result(WAIT) == 9


def test_an_unknown_job_is_refused_and_nothing_is_written(inline: InlineCluster) -> None:
    assert square(1).result(WAIT) == 1
    before = sorted(os.listdir(Path(inline.place.store.root, "jobs", "square")))
    with pytest.raises(SubmissionError, match="square cannot wait for job 999: inline does not know it"):
        square.after(999)(2)
    assert sorted(os.listdir(Path(inline.place.store.root, "jobs", "square"))) == before


def test_a_forgotten_job_is_found_in_the_accounting(inline: InlineCluster) -> None:
    assert square(1).result(WAIT) == 1
    number = inline.queue.ids[-1]
    inline.queue.forget(number)
    assert square.after(number)(2).result(WAIT) == 4
    with pytest.raises(SubmissionError, match=f"waits for the failure of job {number}, which ended as COMPLETED"):
        square.after(number, on="failure")(2)
    inline.queue.accounting_lag = None
    with pytest.raises(SubmissionError, match="does not know it"):
        square.after(number)(2)


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize("state", ["COMPLETED", "FAILED"])
def test_calls_without_room_in_the_queue_wait_for_the_job_too(
    inline: InlineCluster, state: str, *, forgotten: bool
) -> None:
    inline.queue.play(state, task="square", element=0)
    inline.queue.most_queued = 4
    with inline.queue.held():
        square(1)
        number = inline.queue.ids[-1]
        jobs = square.after(number).with_options(job_name="other").map(range(6))
        assert jobs[5].status().state is JobState.PENDING
        inline.queue.accounting_lag = None
        if forgotten:
            inline.queue.forget(number)
    if state == "COMPLETED":
        assert jobs.results(WAIT) == [0, 1, 4, 9, 16, 25]
    else:
        assert {type(error) for error in jobs.exceptions(WAIT)} == {DependencyFailed}
        outcomes = inline.place.store.outcomes(jobs.key, range(6), chunk=1)
        assert [outcome.exit_code for outcome in outcomes.values()] == [1] * 6


def test_a_retry_does_not_wait_again_for_what_has_ended(inline: InlineCluster) -> None:
    with inline.queue.held():
        square(1)
        number = inline.queue.ids[-1]
        job = square.after(number)(3)
    assert job.result(WAIT) == 9
    inline.queue.forget(number)
    inline.queue.accounting_lag = None
    assert job.retry().result(WAIT) == 9
