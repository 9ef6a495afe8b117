"""Status: query any number of jobs at once, and summarise their statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slurm.callbacks.events import ProgressEvent
from slurm.notifications.progress_reader import fields, lines
from slurm.protocol import EVENTS, task_of
from slurm.protocol.pools import is_pool
from slurm.protocol.states import JobState
from slurm.storage.job_store import Outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.places.place import Place
    from slurm.submission.status import JobStatus
    from slurm.submission.submission_state import SubmissionState

_NO_OUTCOMES = Outcomes({}, {})
_MAX_PROGRESS = 3
"""The largest number of running calls whose progress is read."""


class Part(NamedTuple):
    """Some calls of a submission: the calls of a job, an array, or a slice of an array."""

    place: Place
    state: SubmissionState
    indices: Sequence[int]

    @property
    def url(self) -> str:
        """The URL of the submission's cluster."""
        return str(self.place.url)

    @property
    def elements(self) -> int:
        """The number of elements that make the calls."""
        return len(set(map(self.state.element, self.indices))) if self.state.chunk > 1 else len(self.indices)


def statuses(parts: Sequence[Part]) -> list[list[JobStatus]]:
    """Query the status of each call of each part.

    For each cluster, makes one listing of outcomes, one query to the scheduler if anything is unfinished, and runs one
    command that reads the outcomes. Raises SchedulerError if the scheduler cannot answer. If one of several schedulers
    cannot answer, its jobs are UNKNOWN.
    """
    return _by(_query, parts)


def of_ended(parts: Sequence[Part]) -> list[list[JobStatus]]:
    """Read the status of each call of parts whose calls are known to have ended. One command for each cluster."""
    return _by(_read, parts)


def _by(
    read: Callable[[Place, Sequence[Part]], Mapping[str, Outcomes]], parts: Sequence[Part]
) -> list[list[JobStatus]]:
    """The statuses of each part. `read` reads the outcomes of all parts of a place at once."""
    by_place: dict[Place, list[Part]] = {}
    for part in parts:
        by_place.setdefault(part.place, []).append(part)
    outcomes = {place: read(place, some) for place, some in by_place.items()}
    return [_statuses(part, outcomes[part.place].get(part.state.key, _NO_OUTCOMES)) for part in parts]


def known(part: Part) -> list[JobStatus]:
    """The statuses that this process knows, without a query."""
    return _statuses(part, _NO_OUTCOMES)


def _statuses(part: Part, outcomes: Outcomes) -> list[JobStatus]:
    elements = [(index, part.state.element(index)) for index in part.indices]
    return [part.state.status(i, outcomes.read.get(e), outcomes.unreadable.get(e)) for i, e in elements]


def _query(place: Place, parts: Sequence[Part]) -> Mapping[str, Outcomes]:
    """Query the submissions of a place; return their outcomes by key."""
    place.tracker.list_outcomes(_unfinished(parts))
    if unfinished := _unfinished(parts):
        place.tracker.query(unfinished, partly=True)
    return _read(place, parts)


def _read(place: Place, parts: Sequence[Part]) -> Mapping[str, Outcomes]:
    """Read the outcomes that are known to exist, with one command; return them by key."""
    elements: dict[SubmissionState, set[int]] = {}
    for _, state, indices in parts:
        elements.setdefault(state, set()).update(map(state.element, indices))
    found = place.outcomes.several_outcomes({state.key: state.with_outcomes(some) for state, some in elements.items()})
    for state in elements:
        state.learn_outcomes(found[state.key].read)
    return found


def _unfinished(parts: Iterable[Part]) -> list[SubmissionState]:
    """The submissions with unfinished calls, and the elastic pools that may grow, each once."""
    return list({p.state: None for p in parts if p.state.may_grow or not all(map(p.state.finished, p.indices))})


def progress(part: Part, found: Sequence[JobStatus], *, ended: bool = False) -> dict[int, ProgressEvent]:
    """The last reported progress of the first running calls, or of all elements of a pool, by index.

    With `ended`, the last progress of calls that have ended.

    Calls that share an element are left out, because it is not known which of them runs. Runs at most one command.
    """
    place, state, indices = part
    states = zip(indices, (status.state for status in found), strict=True)
    running = [i for i, known in states if (known.final if ended else known is JobState.RUNNING)]
    if not running or state.chunk > 1:
        return {}
    directory = f"{place.store.directory(state.key)}/{EVENTS}"
    most = len(running) if is_pool(state.key) else _MAX_PROGRESS
    paths = {f"{directory}/{index}.jsonl": index for index in running[:most]}
    events: dict[int, ProgressEvent] = {}
    for path, text in place.store.log_tails(list(paths)).items():
        index = paths[path]
        for event in filter(None, map(fields, lines(text))):
            events[index] = ProgressEvent(
                url=part.url,
                key=state.key,
                task=task_of(state.key, index, state.functions),
                mapped=state.mapped,
                index=index,
                **event,
            )
    return events


def in_chunks(parts: Sequence[Part]) -> str:
    """The text after a number of calls if elements make several calls: " in 10 chunks"."""
    if all(part.state.chunk == 1 for part in parts):
        return ""
    count = len({(part.state.key, part.state.element(index)) for part in parts for index in part.indices})
    return f" in {count} chunk{'s' * (count != 1)}"


def call_text(state: SubmissionState, index: int) -> str:
    """The name of a call of a map, for use before a text: "[3]"; in a batch with the function: "[3] fit:"."""
    return f"[{index}] {state.functions.of(index)}:" if state.functions else f"[{index}]"


def failed(status: JobStatus) -> bool:
    """Whether a call ended without a readable result, and was not cancelled."""
    return bool(status.problem) or (status.state.final and status.state not in (JobState.COMPLETED, JobState.CANCELLED))


def error_of(status: JobStatus) -> str:
    """The error in one line, such as "ValueError: too small"; empty without an error, or if only the state shows it."""
    outcome = status.outcome
    if status.problem:
        return status.problem
    if outcome is None or outcome.succeeded:
        return ""
    if outcome.error is None:
        return how_process_ended(outcome.exit_code) if outcome.state is None else ""
    return f"{outcome.error.type}: {outcome.error.message}" if outcome.error.message else outcome.error.type


def how_process_ended(code: int) -> str:
    """How a process ended without an exception: "its process was killed by SIGSEGV"."""
    from slurm.tracking.exceptions import signal_name  # noqa: PLC0415 - a list of jobs needs it only for failures

    name = signal_name(code)
    return f"its process was killed by {name}" if name else f"its process ended with status {code}"


def took(found: Sequence[JobStatus]) -> float | None:
    """Seconds from the first start to the last end, by the nodes' clocks; None unless all outcomes have both."""
    outcomes = [status.outcome for status in found if status.outcome]
    started = [outcome.started for outcome in outcomes if outcome.started is not None]
    ended = [outcome.ended for outcome in outcomes if outcome.ended is not None]
    return max(0.0, max(ended) - min(started)) if started and len(started) == len(ended) == len(found) else None


def peak_memory(found: Sequence[JobStatus]) -> int | None:
    """The largest peak memory of the finished calls, in bytes; None if no outcome has it."""
    return max((s.outcome.peak_memory for s in found if s.outcome and s.outcome.peak_memory), default=None)
