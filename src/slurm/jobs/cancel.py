"""Cancelling jobs, however many, by one command for each cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurm.errors import SchedulerError
from slurm.jobs.job import Job
from slurm.protocol import FAILED, OUTCOMES, PROCESS, outcome_name
from slurm.protocol.outcomes import Outcome
from slurm.protocol.states import JobState
from slurm.schedulers.base import Target
from slurm.tracking import attempts
from slurm.tracking.recovery import complete
from slurm.tracking.workflow_journal import several_children

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from slurm.places.place import Backend
    from slurm.protocol import Block
    from slurm.submission.submission_state import SubmissionState


def cancel(jobs: Iterable[Job[Any]], *, children: bool = True) -> dict[str, int]:
    """Ask the scheduler to end jobs, those that have not ended as far as is known, by one command for each cluster.

    What workflows among them have submitted ends with them, even where they have ended already, unless not `children`.
    A call that shares its element of the array with others (`chunk_size`) ends with them. Those that wait for room in
    the queue never get there. Those that another scheduler took raise SchedulerError, once the others are cancelled.
    Returns how many calls of each submission it has asked to end, by key.
    """
    several: dict[SubmissionState, tuple[Backend, set[int]]] = {}
    for job in _with_children(jobs) if children else jobs:
        backend, watched = job.where
        if watched.submitted is None:
            complete(backend, [watched])
        if not watched.finished(job.index):
            several.setdefault(watched, (backend, set()))[1].add(watched.element(job.index))
    by_backend: dict[Backend, list[tuple[SubmissionState, set[int]]]] = {}
    for watched, (backend, elements) in several.items():
        by_backend.setdefault(backend, []).append((watched, elements))
    elsewhere: list[str] = []
    for backend, every in by_backend.items():
        some = [(watched, elements) for watched, elements in every if not _unreachable(backend, watched, elsewhere)]
        known = _cancel(backend, some)
        for watched, elements in some:
            _end(backend, watched, elements)
        if any(watched.continues for watched, _ in some):  # some may have gone on just now, before they were ended
            _cancel(backend, some, but=known)
        backend.tracker.hurry()
    if elsewhere:
        raise SchedulerError("\n".join(elsewhere))
    return {
        watched.key: sum(min(watched.chunk, watched.count - e * watched.chunk) for e in elements)
        for watched, (_, elements) in several.items()
    }


def _with_children(jobs: Iterable[Job[Any]]) -> Iterator[Job[Any]]:
    """Jobs, what those of them that are workflows have submitted, and so on."""
    generation = list(jobs)
    while generation:
        yield from generation
        calls: dict[Backend, dict[str, set[int]]] = {}
        for job in generation:
            backend, watched = job.where
            if watched.workflow:
                calls.setdefault(backend, {}).setdefault(watched.key, set()).add(job.index)
        generation = [child for backend, some in calls.items() for child in _children(backend, some)]


def _children(backend: Backend, calls: Mapping[str, set[int]]) -> Iterator[Job[Any]]:
    """What calls of workflows have submitted; they are kept from submitting more first."""
    for key, some in calls.items():
        _stay_ended(backend, key, [call for call in some if not backend.watch(key).finished(call)])
    found = [
        child for children in several_children(backend.store, backend.transport, calls).values() for child in children
    ]
    known = {watched.key: watched for watched in backend.watch_several([child.key for child in found])}
    backend.tracker.look(known.values())
    for child in found:
        if child.key not in known or known[child.key].submitted is None:  # it may be queued at this very moment
            _stay_ended(backend, child.key, range(child.elements))
    return (Job(backend, watched, index) for watched in known.values() for index in range(watched.count))


def _stay_ended(backend: Backend, key: str, elements: Iterable[int], reasons: Mapping[int, str] = {}) -> None:
    """Write that elements were cancelled: whatever starts, or would submit something, sees it."""
    ended = {
        outcome_name(element): Outcome(
            status=FAILED,
            phase=PROCESS,
            exit_code=1,
            state=JobState.CANCELLED.value,
            reason=reasons.get(element),
        ).dumps()
        for element in elements
    }
    if ended:
        backend.store.commit(key, OUTCOMES, ended)


def _cancel(
    backend: Backend, some: Iterable[tuple[SubmissionState, set[int]]], *, but: Collection[str] = ()
) -> Collection[str]:
    """Cancel elements in the jobs that they are in, `but` those that have been cancelled; the ids of those jobs."""
    targets: list[Target] = []
    for watched, elements in some:
        if watched.continues:
            attempts.AttemptRecords(backend.store, watched.key, ()).move(watched)
        blocks: dict[Block, set[int]] = {}
        for element in elements:
            block = watched.block(element)
            if block is not None and block.id not in but and not watched.elsewhere(backend.here, block):
                blocks.setdefault(block, set()).add(element - block.first)
        for block, tasks in blocks.items():
            targets.append(Target(block.id, None if len(tasks) == len(block.elements) else sorted(tasks), watched.key))
    if targets:
        backend.controller.cancel(targets)
    return {target.id for target in targets}


def _unreachable(backend: Backend, watched: SubmissionState, reasons: list[str]) -> bool:
    """Whether only another scheduler could cancel a submission; the reason is added to those there are."""
    report = watched.elsewhere(backend.here)
    if report is None or report.state.final:
        return False
    reasons.append(f"{watched.key} can't be cancelled here: {report.reason}")
    return True


def _end(backend: Backend, watched: SubmissionState, elements: Iterable[int]) -> None:
    """Have elements stay cancelled that may have another attempt, or were not queued yet: whatever starts sees it."""
    if watched.submitted is None:
        return
    unqueued = {element for element in elements if watched.block(element) is None}
    kept = elements if watched.continues else unqueued
    _stay_ended(backend, watched.key, kept, dict.fromkeys(unqueued, "it was not queued yet"))
