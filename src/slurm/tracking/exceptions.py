"""Exceptions: build the exception that `result()` raises for a failed job. Only this module writes the advice."""

from __future__ import annotations

import base64
import io
import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slurm.errors import (
    DependencyFailed,
    JobCancelled,
    JobLost,
    JobNotStarted,
    JobOutOfMemory,
    JobPreempted,
    JobTimedOut,
    LoadFailed,
    NodeFailed,
    PoolEnded,
    ResultNotSaved,
    SetupFailed,
    TaskExited,
    TaskFailed,
    WorkerDied,
)
from slurm.options.retry import failure_names, names_of
from slurm.protocol import LOAD, PROCESS, QUEUE, RESOLVE, RUN, SAVE, SETUP
from slurm.protocol.pools import pool_key
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report
from slurm.serialization.tracebacks import sourced
from slurm.serialization.unpickling import SignalWatch, load
from slurm.submission.status import FinalStatus

if TYPE_CHECKING:
    from slurm.errors import (
        JobError,
    )
    from slurm.options.retry import Retry
    from slurm.protocol import ResolvedEnvironment
    from slurm.protocol.outcomes import ErrorRecord, Outcome

_BY_STATE: dict[JobState, tuple[type[JobError], str]] = {
    JobState.CANCELLED: (JobCancelled, "was cancelled"),
    JobState.TIMEOUT: (JobTimedOut, "reached its time limit; give it more with .with_options(time=…)"),
    JobState.OUT_OF_MEMORY: (JobOutOfMemory, "ran out of memory; give it more with .with_options(mem=…)"),
    JobState.NODE_FAIL: (NodeFailed, "lost its node"),
    JobState.PREEMPTED: (JobPreempted, "was preempted and not requeued"),
    JobState.BOOT_FAIL: (JobNotStarted, "could not start: its node did not boot"),
    JobState.DEADLINE: (JobNotStarted, "could not end before its deadline, so it was not run"),
    JobState.REFUSED: (JobNotStarted, "was refused, so it was never queued"),
    JobState.FAILED: (TaskExited, "ended without an outcome"),
}

_IN_POOLS: dict[JobState, str] = {
    JobState.TIMEOUT: "reached the time limit of its pool; give the pool more: cluster.pool(time=…)",
    JobState.OUT_OF_MEMORY: "ran out of memory; give the pool more, or fewer workers: cluster.pool(workers=…, mem=…)",
}
"""The problems of calls of pools that differ from the problems of other jobs."""

_OF_POOLS: dict[str, type[JobError]] = {"PoolEnded": PoolEnded, "WorkerDied": WorkerDied}

_UNPICKLABLE = re.compile(r"(?i)cannot pickle '([\w.]+)' (?:object|instances)|cannot pickle (files)")
_DATA = "data, not open files, connections, generators or locks"
_INSTEAD = (
    (("generator", "async_generator", "coroutine", "map", "filter", "zip"), "list(…) of its values"),
    (("dict_keys", "dict_values", "dict_items"), "list(…) of it"),
    (("files", "BufferedReader", "BufferedWriter", "FileIO", "BufferedRandom", "TextIOWrapper"),
     "the path of the file, or what was read from it"),
    (("lock", "RLock", "_local", "ContextVar"),
     "the data without it: processes cannot share a lock, and each can make its own"),
    (("socket", "Connection", "Cursor", "SSLContext"),
     "what was read from it: a connection stays in its process"),
)  # fmt: skip
"""What to return in place of an object of these classes. The messages of pickle name some classes with modules."""


@dataclass(frozen=True)
class Facts:
    """The facts about a job that errors contain."""

    key: str
    index: int
    job_id: str | None
    log: str
    tail: str = ""
    """The last lines of the log, if they may explain the failure."""
    rank: str = ""
    """The rank that failed, if there are several: "rank 3 of 4"."""
    function: str = ""
    """The function of the call, if the key names several."""
    environment: ResolvedEnvironment | None = None
    """The environment of the job, if `is_missing_module`."""
    retry: Retry | None = None
    """The option `retry` of the job, if `is_raised`."""

    @property
    def log_text(self) -> str:
        """The path of the log, and its last lines."""
        return f"Its log: {self.log}" + (f", which ends:\n{self.tail}" if self.tail else ", which is empty")


class RemoteTraceback(Exception):
    """The traceback on the node, as text: the cause of the exception that is raised here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def failures_of(outcome: Outcome | None, status: FinalStatus) -> frozenset[str]:
    """The names of a failure, as in `Retry`: the error's class and its bases.

    If the scheduler ended the process, its state counts, and not the record that the process left.
    """
    state = status.state if outcome is None or by_signal(outcome) else None
    state = JobState.parse(outcome.state) if outcome is not None and outcome.state else state
    if state in _BY_STATE and not is_raised(outcome):
        return frozenset(names_of(_BY_STATE[state][0]))
    if outcome is None:
        return frozenset(names_of(JobLost))
    return frozenset().union(*(failure_names(found.phase, found.error) for found in outcome.failures or (outcome,)))


def of_outcome(outcome: Outcome, facts: Facts) -> BaseException:
    """The exception for an outcome that is not a success."""
    error, phase = outcome.error, outcome.phase
    message = error.message if error else ""
    if outcome.state and not is_raised(outcome):
        report = Report(
            "", None, JobState.parse(outcome.state), outcome.state, outcome.host or "",
            outcome.reason or "", dependency_failed=phase == RESOLVE,
        )  # fmt: skip
        return of_status(FinalStatus(report.state, report), facts, message)
    if phase in (PROCESS, QUEUE) and error is not None and (of_pool := _OF_POOLS.get(error.type)):
        failure = _job_error(of_pool, f"was not finished: {message}. Its log: {facts.log}", outcome, facts)
        failure.signal = outcome.exit_code - 128 if outcome.exit_code > 128 else None
        return failure
    if phase == PROCESS and error is None:
        return _exited(outcome.exit_code, outcome, facts)
    if phase == PROCESS:
        return _job_error(TaskFailed, f"has ended, but the record of its attempt is damaged: {message}", outcome, facts)
    if phase == QUEUE:
        return _job_error(JobNotStarted, f"was not run: {message}", outcome, facts)
    if phase == SETUP:
        return _job_error(SetupFailed, f"was not run: its setup failed. {facts.log_text}", outcome, facts)
    if error is None:
        return _job_error(TaskFailed, f"failed in phase {phase}", outcome, facts)
    if error.type == "SystemExit":
        argument = message if message.lstrip("-").isdecimal() or not message else repr(message)
        return _with_cause(_exited(outcome.exit_code, outcome, facts, how=f"called sys.exit({argument})"), error)
    if phase == RESOLVE:
        return _job_error(DependencyFailed, f"was not run: {message}", outcome, facts)
    return _of_error(outcome, error, facts)


def _of_error(outcome: Outcome, error: ErrorRecord, facts: Facts) -> BaseException:
    """The exception for an error of a call; the task's own exception if the task raised it."""
    kind, problem = {
        LOAD: (LoadFailed, "was not run: its function or arguments could not be loaded on the node: "),
        SAVE: (ResultNotSaved, "has no result: the function ran to its end, but what it returned could not be saved: "),
    }.get(outcome.phase, (TaskFailed, "raised "))
    advice = _advice(outcome, error, facts)
    own = _unpickled(error) if kind is TaskFailed else None
    if isinstance(own, Exception):
        return _with_cause(_with_note(own, outcome, facts, advice), error)
    parts = [
        f"{problem}{error.type}{error.message and f': {error.message}'}",
        advice,
        own and f"It is not raised here: {own}",
    ]
    parts += [f"Its log: {facts.log}"] if kind is TaskFailed else []
    return _with_cause(_job_error(kind, ". ".join(filter(None, parts)), outcome, facts), error)


def is_raised(outcome: Outcome | None) -> bool:
    """Whether the call has raised an exception, which explains more than the state."""
    return outcome is not None and outcome.phase == RUN and outcome.error is not None


def unexplained(outcome: Outcome | None) -> bool:
    """Whether the log of an element may explain its failure better than its outcome does."""
    return outcome is None or outcome.phase in (PROCESS, SETUP)


def is_missing_module(outcome: Outcome | None) -> bool:
    """Whether a module was not found, so that the error names the environment."""
    return outcome is not None and outcome.error is not None and outcome.error.type == "ModuleNotFoundError"


def by_signal(outcome: Outcome) -> bool:
    """Whether a signal ended the process, so that the scheduler may know the reason."""
    return outcome.phase == PROCESS and outcome.exit_code > 128 and not outcome.state


def of_status(status: FinalStatus, facts: Facts, failed_upstream: str | None = None) -> JobError:
    """The exception for an element that left no outcome, or that the scheduler ended."""
    report = status.report
    reason = f" ({report.reason})" if report and report.reason else ""
    kind: type[JobError]
    if report and report.dependency_failed:
        kind, problem = DependencyFailed, f"was not run: {failed_upstream or 'a job that it waited for failed'}"
    elif status.state in _BY_STATE:
        kind, problem = _BY_STATE[status.state]
        problem = problem if pool_key(facts.key) == facts.key else _IN_POOLS.get(status.state, problem)
    elif facts.job_id is None:
        kind, problem = JobLost, "was never queued: its client died before; submit it again"
    elif report and report.state is JobState.LOST:
        kind, problem, reason = JobLost, f"is lost: it left no outcome, and {report.reason}", ""
    else:
        known = f"its last known state is {report.word}" if report else "the scheduler doesn't know it"
        kind, problem = JobLost, f"is lost: it left no outcome, and {known}"
    advice = ""
    if status.state is JobState.FAILED and not facts.tail:
        advice = ". Perhaps its node does not see this directory: check it with `slurm doctor --run-job`"
    return kind(
        f"{_subject(facts)} {problem}{reason}." + (f" {facts.log_text}{advice}" if facts.job_id else ""),
        key=facts.key,
        index=facts.index,
        job_id=facts.job_id,
        state=status.state.value,
        node=report.node if report and report.node else None,
        log=facts.log,
        exit_code=report.exit_code if report else None,
        signal=report.signal if report else None,
    )


def _exited(code: int, outcome: Outcome, facts: Facts, *, how: str = "") -> JobError:
    name = signal_name(code)
    how = how or (f"was killed by {name}" if name else f"ended its process with status {code}")
    error = _job_error(TaskExited, f"{how} before it returned. {facts.log_text}", outcome, facts)
    error.exit_code, error.signal = code, code - 128 if name else None
    return error


def signal_name(code: int) -> str | None:
    """The name of the signal that killed a process with this exit status, such as "SIGSEGV"; None if there is none."""
    number = code - 128
    return signal.Signals(number).name if number in set(signal.Signals) else None


def _job_error(kind: type[JobError], problem: str, outcome: Outcome, facts: Facts) -> JobError:
    return kind(
        f"{_subject(facts)} {problem}",
        key=facts.key,
        index=facts.index,
        job_id=facts.job_id,
        state=JobState.FAILED.value,
        node=outcome.host,
        log=facts.log,
        exit_code=outcome.exit_code,
    )


def _subject(facts: Facts) -> str:
    job = f"job {facts.key} (id {facts.job_id})" if facts.job_id else f"job {facts.key}"
    job += f" of {facts.function}" if facts.function else ""
    return f"{facts.rank} of {job}" if facts.rank else job


def _with_cause(error: BaseException, record: ErrorRecord) -> BaseException:
    has_frames = record.traceback.strip() != f"{record.type}: {record.message}".strip()
    if record.traceback and has_frames:
        cause = RemoteTraceback(sourced(record.traceback))
        object.__setattr__(error, "__cause__", cause)  # the user's class may have a `__setattr__` that raises
    return error


def _advice(outcome: Outcome, error: ErrorRecord, facts: Facts) -> str:
    """Advice for a result that cannot be saved, an error that is not retried, or a module that was not found; or ""."""
    if outcome.phase == SAVE:
        found = _UNPICKLABLE.search(error.message)
        if not found and "pickl" not in f"{error.type} {error.message}".lower():
            return ""  # such as a full disk
        name = found and (found[1] or found[2]).rpartition(".")[2]  # Python before 3.12 adds the module: "_io.FileIO"
        return f"Return {next((words for names, words in _INSTEAD if name in names), _DATA)}"
    if facts.retry and facts.retry.on is None:
        name = error.type.rpartition(".")[2]
        return f"Retry does not apply to {name}: name it in Retry(on=…)"
    if not is_missing_module(outcome) or facts.environment is None:
        return ""
    environment = facts.environment
    if environment.image:
        return f"The job ran in the image {environment.image}: add the module to it"
    asked = "the Python of the cluster" if environment.asked == "Current()" else environment.asked
    where = environment.python + (f" ({asked})" if asked else "")
    if environment.packages:
        return f"The job ran with {where}: add the package of this module to what is installed there"
    return (
        f"The job ran with {where}: install the package of this module there, or give the task an environment that has "
        "it, such as @task(environment=Wheel())"
    )


def _with_note(error: BaseException, outcome: Outcome, facts: Facts, advice: str) -> BaseException:
    """Add a note (PEP 678) that names the job to the task's own exception, and another one with advice."""
    notes = error.__dict__.setdefault("__notes__", [])  # BaseException.add_note is new in 3.11
    if isinstance(notes, list):  # otherwise it is an attribute that the user has set
        notes.append(f"in {_subject(facts)} on {outcome.host}; its log: {facts.log}")
        notes += [advice] if advice else []
    return error


_REDUCE = (
    "Give the class a `__reduce__` that returns the class and the arguments of its `__init__`, "
    "and keep only data in its attributes"
)


def _unpickled(record: ErrorRecord) -> Exception | str:
    """The task's own exception, or why it cannot be raised here."""
    if record.pickle is None:
        reason = record.not_pickled or ""
        return f"{reason}. {_REDUCE}" if reason.startswith("it ") else reason
    with SignalWatch() as signals:
        try:
            error = load(io.BytesIO(base64.b64decode(record.pickle)))  # from the user's own outcome file
        except BaseException as problem:  # noqa: BLE001 - the user's own __reduce__ or __init__; the record has the text
            signals.raise_if_sent()
            return f"it cannot be unpickled: {type(problem).__name__}: {problem}"
    return error if issubclass(type(error), Exception) else f"{record.type} is not an Exception"
