"""Statuses: one look at any number of jobs, wherever they are, and what is read from what it finds."""

from __future__ import annotations

import time
from calendar import timegm
from typing import TYPE_CHECKING, NamedTuple

from slurm.callbacks.events import ProgressEvent
from slurm.notifications.progress_reader import fields, lines
from slurm.protocol import EVENTS
from slurm.protocol.states import JobState
from slurm.storage.job_store import Outcomes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.places.place import Place
    from slurm.submission.status import JobStatus
    from slurm.submission.submission_state import SubmissionState

_NONE = Outcomes({}, {})
_TELLING = 3
"""Of so many calls is read what they tell of their progress."""


class Part(NamedTuple):
    """Some calls of a submission: a job, an array, a slice of one."""

    place: Place
    watched: SubmissionState
    indices: Sequence[int]

    @property
    def url(self) -> str:
        """Where it is."""
        return str(self.place.url)


def statuses(parts: Sequence[Part]) -> list[list[JobStatus]]:
    """How far each call of each part is.

    For each cluster: one listing of outcomes, one question to the scheduler if something has not ended, and one reading
    of the outcomes. Raises SchedulerError if the scheduler can't tell. If one of several clusters can't, its jobs are
    UNKNOWN.
    """
    by_place: dict[Place, list[Part]] = {}
    for part in parts:
        by_place.setdefault(part.place, []).append(part)
    outcomes = {place: _look(place, some) for place, some in by_place.items()}
    return [_told(part, outcomes[part.place].get(part.watched.key, _NONE)) for part in parts]


def known(part: Part) -> list[JobStatus]:
    """The same without a look, as far as this process has learnt it."""
    return _told(part, _NONE)


def _told(part: Part, outcomes: Outcomes) -> list[JobStatus]:
    elements = [(index, part.watched.element(index)) for index in part.indices]
    return [part.watched.status(i, outcomes.read.get(e), outcomes.unreadable.get(e)) for i, e in elements]


def _look(place: Place, parts: Sequence[Part]) -> Mapping[str, Outcomes]:
    """The outcomes that there are, after a look, by key and element."""
    place.tracker.look(_open(parts))
    if left := _open(parts):
        place.tracker.ask(left, partly=True)
    with_outcome: dict[SubmissionState, set[int]] = {}
    for _, watched, indices in parts:
        with_outcome.setdefault(watched, set()).update(map(watched.element, indices))
    wanted = {watched.key: watched.with_outcomes(elements) for watched, elements in with_outcome.items()}
    found = place.store.several_outcomes(wanted)
    for watched in with_outcome:
        watched.learn_outcomes(found[watched.key].read)
    return found


def _open(parts: Iterable[Part]) -> list[SubmissionState]:
    """The submissions of which something has not ended, each once."""
    return list({p.watched: None for p in parts if not all(map(p.watched.finished, p.indices))})


def progress(part: Part, found: Sequence[JobStatus]) -> dict[int, ProgressEvent]:
    """What the first calls that run have told last of their progress, as far as they tell any; one command, if any run.

    Not of calls that share their element: which of them it is at isn't known.
    """
    place, watched, indices = part
    running = [i for i, status in zip(indices, found, strict=True) if status.state is JobState.RUNNING]
    if not running or watched.chunk > 1:
        return {}
    directory = f"{place.store.directory(watched.key)}/{EVENTS}"
    paths = {f"{directory}/{index}.jsonl": index for index in running[:_TELLING]}
    task = watched.key.partition("/")[0]
    told: dict[int, ProgressEvent] = {}
    for path, text in place.store.log_tails(list(paths)).items():
        index = paths[path]
        for event in filter(None, map(fields, lines(text))):
            told[index] = ProgressEvent(
                url=part.url, key=watched.key, task=task, mapped=watched.mapped, index=index, **event
            )
    return told


def failed(status: JobStatus) -> bool:
    """Whether it ended without a result that can be read, and nobody wanted that."""
    return bool(status.problem) or (status.state.final and status.state not in (JobState.COMPLETED, JobState.CANCELLED))


def error_of(status: JobStatus) -> str:
    """What went wrong in a line, such as "ValueError: too small"; empty if nothing did, or only the state tells."""
    outcome = status.outcome
    if status.problem:
        return status.problem
    if outcome is None or outcome.succeeded:
        return ""
    if outcome.error is None:
        return f"its process ended with status {outcome.exit_code}" if outcome.state is None else ""
    return f"{outcome.error.type}: {outcome.error.message}" if outcome.error.message else outcome.error.type


def submitted_at(key: str) -> float | None:
    """When, in seconds since the epoch by the clock of whoever submitted: a key tells, if it is one of ours."""
    try:
        return timegm(time.strptime(key.rpartition("/")[2].partition("-")[0], "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return None


def took(found: Sequence[JobStatus]) -> float | None:
    """The seconds from the first beginning to the last end, by the nodes' clocks; None unless all have left both."""
    outcomes = [status.outcome for status in found if status.outcome]
    begun = [outcome.started for outcome in outcomes if outcome.started is not None]
    ended = [outcome.ended for outcome in outcomes if outcome.ended is not None]
    return max(0.0, max(ended) - min(begun)) if begun and len(begun) == len(ended) == len(found) else None


def peak_memory(found: Sequence[JobStatus]) -> int | None:
    """The most bytes that any of them used at a time, as far as they have ended and told."""
    return max((s.outcome.peak_memory for s in found if s.outcome and s.outcome.peak_memory), default=None)
