"""From what is known of an ended job to the exception that `result()` raises. The one place that writes the advice."""

from __future__ import annotations

import base64
import io
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
    ResultNotSaved,
    SetupFailed,
    TaskExited,
    TaskFailed,
)
from slurm.options.retry import failure_names, names_of
from slurm.protocol import LOAD, PROCESS, QUEUE, RESOLVE, SAVE, SETUP
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report
from slurm.serialization.tracebacks import sourced
from slurm.serialization.unpickling import SignalWatch, load
from slurm.submission.status import FinalStatus

if TYPE_CHECKING:
    from slurm.errors import (
        JobError,
    )
    from slurm.protocol.outcomes import ErrorRecord, Outcome

_BY_STATE: dict[JobState, tuple[type[JobError], str]] = {
    JobState.CANCELLED: (JobCancelled, "was cancelled"),
    JobState.TIMEOUT: (JobTimedOut, "reached its time limit; give it more with .with_options(time=…)"),
    JobState.OUT_OF_MEMORY: (JobOutOfMemory, "ran out of memory; give it more with .with_options(mem=…)"),
    JobState.NODE_FAIL: (NodeFailed, "lost its node"),
    JobState.PREEMPTED: (JobPreempted, "was preempted and not requeued"),
    JobState.BOOT_FAIL: (JobNotStarted, "could not start: its node didn't boot"),
    JobState.DEADLINE: (JobNotStarted, "could not end before its deadline, so it was not run"),
    JobState.REFUSED: (JobNotStarted, "was refused, so it was never queued"),
    JobState.FAILED: (TaskExited, "ended without a word"),
}

_LOAD_ADVICE = "its function or arguments could not be loaded on the node"
_SAVE_ADVICE = "the function ran to its end, but what it returned could not be saved"


@dataclass(frozen=True)
class Facts:
    """What an error says of the job: where it is, and where to look."""

    key: str
    index: int
    job_id: str | None
    log: str
    tail: str = ""
    """The last lines of the log, where they may tell what the error can't."""
    rank: str = ""
    """Of several ranks, which one it is about, as "rank 3 of 4"."""

    @property
    def where_to_look(self) -> str:
        """The log, and how it ends."""
        return f"Its log: {self.log}" + (f", which ends:\n{self.tail}" if self.tail else ", which is empty")


class RemoteTraceback(Exception):
    """The traceback of an exception on the node, as its cause shows it here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def names(outcome: Outcome | None, ending: FinalStatus | None) -> frozenset[str]:
    """What a failure is called, as `Retry` has it: the error's class and its bases.

    Where the scheduler ended the process, its word counts, not what the process left.
    """
    state = ending.state if ending is not None and (outcome is None or by_signal(outcome)) else None
    state = JobState.parse(outcome.state) if outcome is not None and outcome.state else state
    if state in _BY_STATE:
        return frozenset(names_of(_BY_STATE[state][0]))
    if outcome is None:
        return frozenset(names_of(JobLost))
    every = [failure_names(found.phase, found.error) for found in (outcome.failures or (outcome,))]
    return frozenset().union(*every)


def of_outcome(outcome: Outcome, facts: Facts) -> BaseException:
    """The exception for an outcome that isn't a success."""
    error = outcome.error
    if outcome.state:
        report = Report(
            outcome.job_id or "", None, JobState.parse(outcome.state), outcome.state, outcome.host or "",
            outcome.reason or "", dependency_failed=outcome.phase == RESOLVE,
        )  # fmt: skip
        return of_ending(FinalStatus(report.state, report), facts, error.message if error else None)
    if outcome.phase == PROCESS:
        return _of_process(outcome, facts)
    if outcome.phase == QUEUE:
        return _job_error(JobNotStarted, f"was not run: {error.message if error else ''}", outcome, facts)
    if outcome.phase == SETUP:
        return _job_error(SetupFailed, f"was not run: its setup failed. {facts.where_to_look}", outcome, facts)
    if error is None:
        return _job_error(TaskFailed, f"failed in phase {outcome.phase}", outcome, facts)
    if error.type == "SystemExit":
        return _caused(_exited(outcome.exit_code, outcome, facts, how=f"called sys.exit({error.message})"), error)
    words = f"{error.type}: {error.message}"
    if outcome.phase == RESOLVE:
        return _job_error(DependencyFailed, f"was not run: {error.message}", outcome, facts)
    if outcome.phase == LOAD:
        return _caused(_job_error(LoadFailed, f"was not run: {_LOAD_ADVICE}: {words}", outcome, facts), error)
    if outcome.phase == SAVE:
        return _caused(_job_error(ResultNotSaved, f"has no result: {_SAVE_ADVICE}: {words}", outcome, facts), error)
    return _caused(
        _noted(_revived(error) or _job_error(TaskFailed, f"raised {words}", outcome, facts), outcome, facts),
        error,
    )


def _of_process(outcome: Outcome, facts: Facts) -> JobError:
    if outcome.error is not None:  # that the attempt's own record is damaged
        return _job_error(TaskFailed, f"has ended, and how can't be told: {outcome.error.message}", outcome, facts)
    return _exited(outcome.exit_code, outcome, facts)


def without_a_word(outcome: Outcome | None) -> bool:
    """Whether an element ended so that its log may tell more than is known of it."""
    return outcome is None or outcome.phase in (PROCESS, SETUP)


def by_signal(outcome: Outcome) -> bool:
    """Whether a signal ended the process, so that the scheduler may know more than the outcome."""
    return outcome.phase == PROCESS and outcome.exit_code > 128 and not outcome.state


def of_ending(ending: FinalStatus, facts: Facts, failed_upstream: str | None = None) -> JobError:
    """The exception for an element that left no outcome, or whose process the scheduler ended."""
    report = ending.report
    reason = f" ({report.reason})" if report and report.reason else ""
    kind: type[JobError]
    if report and report.dependency_failed:
        kind, words = DependencyFailed, f"was not run: {failed_upstream or 'what it waited for failed'}"
    elif ending.state in _BY_STATE:
        kind, words = _BY_STATE[ending.state]
    elif facts.job_id is None:
        kind, words = JobLost, "was never queued: its client died before; submit it again"
    else:
        said = f"it was {report.word} when last heard of" if report else "the scheduler doesn't know it"
        if report and report.state is JobState.LOST:
            said, reason = report.reason, ""
        kind, words = JobLost, f"is lost: it left no outcome, and {said}"
    return kind(
        f"{_subject(facts)} {words}{reason}." + (f" {facts.where_to_look}" if facts.job_id else ""),
        key=facts.key,
        index=facts.index,
        job_id=facts.job_id,
        state=ending.state.value,
        node=report.node if report and report.node else None,
        log=facts.log,
        exit_code=report.exit_code if report else None,
        signal=report.signal if report else None,
    )


def _exited(code: int, outcome: Outcome, facts: Facts, *, how: str = "") -> JobError:
    number = code - 128 if code > 128 and code - 128 in set(signal.Signals) else None
    if not how:
        how = f"was killed by {signal.Signals(number).name}" if number else f"ended its process with status {code}"
    error = _job_error(TaskExited, f"{how} before it returned. {facts.where_to_look}", outcome, facts)
    error.exit_code, error.signal = code, number
    return error


def _job_error(kind: type[JobError], words: str, outcome: Outcome, facts: Facts) -> JobError:
    return kind(
        f"{_subject(facts)} {words}",
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
    return f"{facts.rank} of {job}" if facts.rank else job


def _caused(error: BaseException, record: ErrorRecord) -> BaseException:
    if record.traceback:
        cause = RemoteTraceback(sourced(record.traceback))
        object.__setattr__(error, "__cause__", cause)  # the user's class may have a `__setattr__` that refuses
    return error


def _noted(error: BaseException, outcome: Outcome, facts: Facts) -> BaseException:
    """The user's own exception, with a note (PEP 678) that says which job it was."""
    note = f"in {_subject(facts)} on {outcome.host}; its log: {facts.log}"
    notes = error.__dict__.setdefault("__notes__", [])  # BaseException.add_note is new in 3.11
    if isinstance(notes, list):  # else it is the user's own
        notes.append(note)
    return error


def _revived(record: ErrorRecord) -> BaseException | None:
    """The task's own exception, if it can be brought back and is one that a caller can mean to catch."""
    if record.pickle is None:
        return None
    with SignalWatch() as signals:
        try:
            error = load(io.BytesIO(base64.b64decode(record.pickle)))  # from the user's own outcome file
        except BaseException:  # noqa: BLE001 - the user's own __reduce__ or __init__; the text tells what it was
            signals.raise_if_sent()
            return None
    return error if issubclass(type(error), Exception) else None
