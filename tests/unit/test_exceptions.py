"""Exceptions: which one a failed job raises, and what its message says. One row for each kind of record."""

from __future__ import annotations

import base64
import builtins
import pickle
import threading
from dataclasses import replace

import pytest

from slurm import Retry
from slurm.errors import (
    CommandFailed,
    DependencyFailed,
    JobCancelled,
    JobError,
    JobLost,
    JobNotStarted,
    JobOutOfMemory,
    JobPreempted,
    JobTimedOut,
    LoadFailed,
    NodeFailed,
    ResultNotSaved,
    SetupFailed,
    TaskExited,
    TaskFailed,
)
from slurm.protocol import FAILED, LOAD, PROCESS, QUEUE, RESOLVE, RUN, SAVE, SETUP, ResolvedEnvironment
from slurm.protocol.outcomes import ErrorRecord, Outcome
from slurm.protocol.states import JobState
from slurm.runner.result_saver import describe
from slurm.schedulers.base import Report
from slurm.submission.status import FinalStatus
from slurm.tracking.exceptions import Facts, by_signal, is_missing_module, of_outcome, of_status, unexplained

FACTS = Facts("work/20260101T000000Z-00000000", 3, "7_3", "/root/logs/3.log", tail="the last line")
ERROR = ErrorRecord(type="ValueError", message="odd", bases=("ValueError",), traceback="Traceback: odd")
EXIT = ErrorRecord(type="SystemExit", message="4", bases=("SystemExit",))


def outcome(phase: str, error: ErrorRecord | None = None, code: int = 1, state: str | None = None) -> Outcome:
    return Outcome(status=FAILED, phase=phase, exit_code=code, error=error, host="n1", state=state, job_id="7_3")


@pytest.mark.parametrize(
    ("record", "kind", "words"),
    [
        (outcome(PROCESS, code=3), TaskExited, "ended its process with status 3 before it returned. Its log:"),
        (outcome(PROCESS, code=137), TaskExited, "was killed by SIGKILL before it returned"),
        (outcome(PROCESS, code=129 + 99), TaskExited, "ended its process with status 228"),
        (outcome(PROCESS, ERROR), TaskFailed, "the record of its attempt is damaged: odd"),
        (outcome(QUEUE, ERROR), JobNotStarted, "was not run: odd"),
        (outcome(SETUP), SetupFailed, "its setup failed. Its log: /root/logs/3.log, which ends:\nthe last line"),
        (outcome(RUN), TaskFailed, "failed in phase run"),
        (outcome(RUN, EXIT, code=4), TaskExited, "called sys.exit(4) before it returned"),
        (outcome(RUN, EXIT.replace(message="bye")), TaskExited, "called sys.exit('bye') before it returned"),
        (outcome(RESOLVE, ERROR), DependencyFailed, "was not run: odd"),
        (outcome(LOAD, ERROR), LoadFailed, "could not be loaded on the node: ValueError: odd"),
        (outcome(SAVE, ERROR), ResultNotSaved, "could not be saved: ValueError: odd"),
        (outcome(RUN, ERROR), TaskFailed, "raised ValueError: odd"),
        (outcome(PROCESS, state="TIMEOUT"), JobTimedOut, "with_options(time=…)"),
        (outcome(RESOLVE, ERROR, state="CANCELLED"), DependencyFailed, "was not run: odd"),
        (outcome(PROCESS, state="CANCELLED"), JobCancelled, "was cancelled"),
    ],
)
def test_an_outcome_has_the_exception_of_its_phase(record: Outcome, kind: type[JobError], words: str) -> None:
    error = of_outcome(record, FACTS)
    assert type(error) is kind
    assert isinstance(error, JobError)
    assert words in str(error)
    assert "job work/20260101T000000Z-00000000 (id 7_3)" in str(error)
    assert (error.key, error.index, error.job_id, error.node) == (FACTS.key, 3, "7_3", "n1")


@pytest.mark.parametrize(
    ("kind", "message", "advice"),
    [
        ("TypeError", "cannot pickle 'generator' object", "Return list(…) of its values"),
        ("PicklingError", "Can't pickle <function f>", "Return data, not open files"),
        ("OSError", "No space left on device", ""),
    ],
)
def test_a_result_that_cannot_be_pickled_has_advice(kind: str, message: str, advice: str) -> None:
    error = ErrorRecord(type=kind, message=message, bases=(kind,))
    text = str(of_outcome(outcome(SAVE, error), FACTS))
    assert advice in text
    assert ("Return" in text) is bool(advice)


@pytest.mark.parametrize(("code", "number"), [(0, None), (128, None), (129, 1), (143, 15), (255, None)])
def test_an_exit_status_above_128_is_a_signal_if_there_is_one(code: int, number: int | None) -> None:
    error = of_outcome(outcome(PROCESS, code=code), FACTS)
    assert isinstance(error, TaskExited)
    assert (error.exit_code, error.signal) == (code, number)


def test_a_task_raises_its_own_exception_with_a_note_and_the_traceback_of_the_node() -> None:
    own = base64.b64encode(pickle.dumps(ValueError("odd"))).decode()
    error = of_outcome(outcome(RUN, ERROR.replace(pickle=own)), FACTS)
    assert type(error) is ValueError
    assert error.__notes__ == [f"in job {FACTS.key} (id 7_3) on n1; its log: /root/logs/3.log"]
    assert "Traceback: odd" in str(error.__cause__)


@pytest.mark.parametrize("pickled", ["", base64.b64encode(pickle.dumps(SystemExit(2))).decode()])
def test_an_exception_that_cannot_be_raised_here_is_a_task_failure(pickled: str) -> None:
    assert type(of_outcome(outcome(RUN, ERROR.replace(pickle=pickled)), FACTS)) is TaskFailed


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (JobState.CANCELLED, JobCancelled),
        (JobState.TIMEOUT, JobTimedOut),
        (JobState.OUT_OF_MEMORY, JobOutOfMemory),
        (JobState.NODE_FAIL, NodeFailed),
        (JobState.PREEMPTED, JobPreempted),
        (JobState.BOOT_FAIL, JobNotStarted),
        (JobState.DEADLINE, JobNotStarted),
        (JobState.REFUSED, JobNotStarted),
        (JobState.FAILED, TaskExited),
        (JobState.LOST, JobLost),
    ],
)
def test_each_final_state_has_an_exception(state: JobState, kind: type[JobError]) -> None:
    report = Report("7_3", None, state, state.value, "n1", "a reason")
    error = of_status(FinalStatus(state, report), FACTS)
    assert type(error) is kind
    assert "a reason" in str(error)
    assert (error.state, error.node) == (state.value, "n1")


def test_a_lost_job_says_what_is_known() -> None:
    never = of_status(FinalStatus(JobState.LOST, None), Facts(FACTS.key, 0, None, FACTS.log))
    assert str(never) == f"job {FACTS.key} was never queued: its client died before; submit it again."
    assert "the scheduler doesn't know it" in str(of_status(FinalStatus(JobState.LOST, None), FACTS))
    running = Report("7_3", None, JobState.RUNNING, "RUNNING", "n1", "")
    assert "its last known state is RUNNING" in str(of_status(FinalStatus(JobState.LOST, running), FACTS))


def test_a_log_that_is_empty_is_said_to_be() -> None:
    facts = Facts(FACTS.key, 0, "7", "/root/logs/0.log", rank="rank 3 of 4")
    error = of_outcome(outcome(PROCESS), facts)
    assert str(error).startswith(f"rank 3 of 4 of job {FACTS.key} (id 7) ended its process")
    assert str(error).endswith("Its log: /root/logs/0.log, which is empty")


def test_which_ends_the_log_or_the_scheduler_may_explain() -> None:
    killed = outcome(PROCESS, code=137)
    assert (unexplained(None), unexplained(killed), unexplained(outcome(RUN, ERROR))) == (True, True, False)
    assert by_signal(killed)
    assert not by_signal(outcome(PROCESS, code=128))
    assert not by_signal(outcome(PROCESS, code=137, state="TIMEOUT"))
    assert not by_signal(outcome(RUN, ERROR, code=137))


def test_a_missing_module_is_told_apart_from_other_errors() -> None:
    missing = ErrorRecord(type="ModuleNotFoundError", message="No module named 'x'", bases=("ImportError",))
    found = [is_missing_module(end) for end in (None, outcome(PROCESS), outcome(LOAD, ERROR), outcome(LOAD, missing))]
    assert found == [False, False, False, True]


@pytest.mark.parametrize(("node", "expected"), [("n1", "n1"), ("", None)])
def test_an_error_names_the_node_if_the_scheduler_does(node: str, expected: str | None) -> None:
    report = Report("7_3", None, JobState.TIMEOUT, "TIMEOUT", node, "")
    assert of_status(FinalStatus(JobState.TIMEOUT, report), FACTS).node == expected
    assert of_status(FinalStatus(JobState.TIMEOUT, None), FACTS).node is None


def test_a_missing_module_comes_with_advice_for_the_image_that_the_job_ran_in() -> None:
    missing = ErrorRecord(type="ModuleNotFoundError", message="No module named 'x'", bases=("ImportError",))
    image = ResolvedEnvironment(key="k", python="/usr/bin/python3", tag="3.11", setup=(), image="app.sif")
    error = of_outcome(outcome(LOAD, missing), Facts(FACTS.key, 3, "7_3", FACTS.log, environment=image))
    assert "The job ran in the image app.sif: add the module to it" in str(error)


@pytest.mark.parametrize(
    ("asked", "packages", "advice"),
    [
        ("Current()", (), "ran with /usr/bin/python3 (the Python of the cluster): install the package of this module"),
        ("Wheel()", ("p",), "ran with /usr/bin/python3 (Wheel()): add the package of this module to what is installed"),
        (None, (), "ran with /usr/bin/python3: install the package of this module there, or give the task"),
    ],
)
def test_a_missing_module_comes_with_advice_for_the_python_that_the_job_ran_with(
    asked: str | None, packages: tuple[str, ...], advice: str
) -> None:
    missing = ErrorRecord(type="ModuleNotFoundError", message="No module named 'x'", bases=("ImportError",))
    found = ResolvedEnvironment(key="k", python="/usr/bin/python3", tag="3.11", asked=asked, packages=packages)
    error = of_outcome(outcome(LOAD, missing), Facts(FACTS.key, 3, "7_3", FACTS.log, environment=found))
    assert advice in str(error)


class Star(Exception):
    def __init__(self, star: str, n: int) -> None:
        super().__init__(f"{star} after {n}")
        self.star = star


class NoFile(OSError):
    def __init__(self, name: str) -> None:
        super().__init__(2, "absent", name)


class Bad(ValueError):
    def __init__(self, value: int) -> None:
        super().__init__(f"bad {value}")


class Keyed(Exception):
    def __init__(self, *, key: int) -> None:
        self.key = key

    def __str__(self) -> str:
        return f"key {self.key}"


class Made(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.both = one, two

    def __reduce__(self) -> tuple[type[Made], tuple[int, int]]:
        return Made, self.both


@pytest.mark.parametrize("error", [Star("Vega", 3), NoFile("x.fits"), Bad(3), Keyed(key=3), Made(1, 2)])
def test_an_exception_arrives_as_itself_whatever_its_init_takes(error: Exception) -> None:
    found = of_outcome(outcome(RUN, describe(error)), FACTS)
    assert type(found) is type(error)
    assert (str(found), found.args) == (str(error), error.args)
    assert {**vars(found), "__notes__": 0} == {**vars(error), "__notes__": 0}
    assert getattr(found, "filename", None) == getattr(error, "filename", None)


def test_the_exceptions_of_a_group_arrive_too() -> None:
    group = getattr(builtins, "ExceptionGroup", None)
    if group is None:
        pytest.skip("Python 3.10 has no groups")
    found = of_outcome(outcome(RUN, describe(group("two", [Star("Vega", 3), Bad(1)]))), FACTS)
    assert [str(each) for each in getattr(found, "exceptions", ())] == ["Vega after 3", "bad 1"]


class Locked(Exception):
    def __init__(self) -> None:
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            Locked(),
            "it cannot be pickled: TypeError: cannot pickle '_thread.lock' object. Give the class a `__reduce__`",
        ),
        (ValueError("x" * (1 << 20)), "its pickle has 1048"),
        (KeyboardInterrupt(), "KeyboardInterrupt is not an Exception"),
    ],
)
def test_a_task_failure_says_why_the_exception_is_not_raised(error: BaseException, reason: str) -> None:
    found = of_outcome(outcome(RUN, describe(error)), FACTS)
    assert type(found) is TaskFailed
    assert f"It is not raised here: {reason}" in str(found)
    assert str(found).endswith("Its log: /root/logs/3.log")


def test_a_failure_without_frames_is_shown_once() -> None:
    error = CommandFailed("fit: ended", key="k", index=0, job_id="1", state="FAILED", node="n", log="l", exit_code=1)
    found = of_outcome(outcome(RUN, describe(error)), FACTS)
    assert type(found) is CommandFailed
    assert found.__cause__ is None


def test_an_error_that_retry_does_not_cover_is_said_to_be_none() -> None:
    record = outcome(RUN, describe(ConnectionError("gone")))
    for retry, notes in ((Retry(times=2), 2), (Retry(times=2, on="OSError"), 1), (None, 1)):
        found = of_outcome(record, replace(FACTS, retry=retry))
        assert len(found.__notes__) == notes
        assert notes == 1 or found.__notes__[1] == "Retry does not apply to ConnectionError: name it in Retry(on=…)"
    failed = of_outcome(outcome(RUN, ERROR), replace(FACTS, retry=Retry()))
    assert "raised ValueError: odd. Retry does not apply to ValueError: name it in Retry(on=…). " in str(failed)
