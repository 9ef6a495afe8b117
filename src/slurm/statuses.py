"""Statuses: one look at any number of jobs, wherever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.backend import Backend
    from slurm.protocol import Outcome
    from slurm.watched import JobStatus, Watched


class Part(NamedTuple):
    """Some calls of a submission: a job, an array, a slice of one."""

    backend: Backend
    watched: Watched
    indices: Sequence[int]

    @property
    def url(self) -> str:
        """Where it is."""
        return str(self.backend.url)


def statuses(parts: Sequence[Part]) -> list[list[JobStatus]]:
    """How far each call of each part is.

    For each cluster: one listing of outcomes, one question to the scheduler if something has not ended, and one reading
    of the outcomes. Raises SchedulerError if the scheduler can't tell.
    """
    by_backend: dict[Backend, list[Part]] = {}
    for part in parts:
        by_backend.setdefault(part.backend, []).append(part)
    outcomes = {backend: _look(backend, some) for backend, some in by_backend.items()}
    return [_told(part, outcomes[part.backend].get(part.watched.key, {})) for part in parts]


def known(part: Part) -> list[JobStatus]:
    """The same without a look, as far as this process has learnt it."""
    return _told(part, {})


def _told(part: Part, outcomes: Mapping[int, Outcome]) -> list[JobStatus]:
    return [part.watched.status(index, outcomes.get(part.watched.element(index))) for index in part.indices]


def _look(backend: Backend, parts: Sequence[Part]) -> Mapping[str, Mapping[int, Outcome]]:
    """The outcomes that there are, after a look, by key and element."""
    backend.tracker.look(_open(parts))
    if left := _open(parts):
        backend.tracker.ask(left)
    with_outcome: dict[Watched, set[int]] = {}
    for _, watched, indices in parts:
        with_outcome.setdefault(watched, set()).update(map(watched.element, indices))
    wanted = {watched.key: elements & watched.done for watched, elements in with_outcome.items()}
    found = backend.store.several_outcomes(wanted)
    for watched in with_outcome:
        watched.learn(found[watched.key])
    return found


def _open(parts: Iterable[Part]) -> list[Watched]:
    """The submissions of which something has not ended, each once."""
    return list({p.watched: None for p in parts if not all(map(p.watched.finished, p.indices))})
