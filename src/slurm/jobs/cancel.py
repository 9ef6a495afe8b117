"""Cancel any number of calls, with one command for each cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.errors import SchedulerError
from slurm.protocol import ATTEMPTS
from slurm.protocol.pools import ENDED
from slurm.schedulers.base import Target
from slurm.storage.fencing import cancelled_outcome, may_run_on, stay_ended
from slurm.tracking import attempts
from slurm.tracking.workflow_journal import several_children
from slurm.views.status import Part

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from slurm.places.place import Place
    from slurm.protocol import Block
    from slurm.protocol.outcomes import Outcome
    from slurm.submission.submission_state import SubmissionState

_NOT_QUEUED = "it was not queued yet"


def cancel(parts: Iterable[Part], *, children: bool = True) -> dict[str, int]:
    """Cancel the calls that have not ended, as far as is known, with one command for each cluster.

    With `children`, jobs that workflows among the calls have submitted are cancelled, too, even if the workflows have
    ended. A call that shares its array element with other calls (`chunk_size`) ends together with them. Elements that
    wait for room in the queue are never queued. Elements that a fence has ended may still run, so they are cancelled,
    too. Raises SchedulerError for calls that another scheduler has queued, after the other calls are cancelled.
    Returns the number of calls to be cancelled of each submission, by key.
    """
    several: dict[Place, dict[SubmissionState, set[int]]] = {}
    for place, watched, indices in with_children(parts, cancelled_outcome()) if children else parts:
        if watched.server is not None:
            watched.server.cancel(indices)
            continue
        if watched.elastic and len(indices) == watched.count:
            place.store.add(watched.key, {f"{ATTEMPTS}/{ENDED}": ""})
        if watched.submitted is None:
            place.recovery.complete([watched])
        several.setdefault(place, {}).setdefault(watched, set()).update(map(watched.element, indices))
    elsewhere: list[str] = []
    for place, every in several.items():
        _leave_out_ended(place, every)
        some = [
            (watched, elements) for watched, elements in every.items() if not _unreachable(place, watched, elsewhere)
        ]
        known = _cancel(place, some)
        changing = [watched for watched, elements in some if _end(place, watched, elements)]
        if changing:  # another process may have queued some of their elements at this moment
            _cancel(place, some, but=known)
        place.tracker.query_soon()
    if elsewhere:
        raise SchedulerError("\n".join(elsewhere))
    return {
        watched.key: sum(min(watched.chunk, watched.count - e * watched.chunk) for e in elements)
        for every in several.values()
        for watched, elements in every.items()
    }


def _leave_out_ended(place: Place, every: dict[SubmissionState, set[int]]) -> None:
    """Keep the elements that have not ended, and those that may run although they have an outcome."""
    ended = {w.key: w.with_outcomes(elements) for w, elements in every.items()}
    ended = {key: elements for key, elements in ended.items() if elements}
    read = place.outcomes.several_outcomes(ended) if ended else {}
    for watched, elements in list(every.items()):
        found = read[watched.key].read if watched.key in read else {}
        fenced = {element for element, outcome in found.items() if may_run_on(outcome)}
        every[watched] = {e for e in elements if e in fenced or not watched.element_finished(e)}
        if not every[watched]:
            del every[watched]


def with_children(parts: Iterable[Part], outcome: Outcome) -> Iterator[Part]:
    """Yield calls, then the submissions of those calls that are workflows, then their submissions, and so on.

    Workflows that have not ended get an outcome, so that they submit nothing more; so do submissions without records.
    """
    generation = list(parts)
    while generation:
        yield from generation
        calls: dict[Place, dict[str, set[int]]] = {}
        for place, watched, indices in generation:
            if watched.workflow:
                calls.setdefault(place, {}).setdefault(watched.key, set()).update(indices)
        generation = [child for place, some in calls.items() for child in _children(place, some, outcome)]


def _children(place: Place, calls: Mapping[str, set[int]], outcome: Outcome) -> Iterator[Part]:
    """The submissions of calls of workflows. First, these calls are prevented from submitting more."""
    for key, some in calls.items():
        watched = place.registry.get(key)
        stay_ended(place.store, key, [call for call in some if not watched.finished(call)], outcome)
    found = [child for some in several_children(place.store, place.transport, calls).values() for child in some]
    known = {watched.key: watched for watched in place.registry.get_several([child.key for child in found])}
    place.tracker.list_outcomes(known.values())
    for child in found:
        if child.key not in known or known[child.key].submitted is None:  # it may be queued at this moment
            stay_ended(place.store, child.key, range(child.elements), outcome)
    return (Part(place, watched, range(watched.count)) for watched in known.values())


def _cancel(
    place: Place, some: Iterable[tuple[SubmissionState, set[int]]], *, but: Collection[str] = ()
) -> Collection[str]:
    """Cancel elements in their current jobs, except the jobs `but`. Returns the ids of the cancelled jobs."""
    targets: list[Target] = []
    here = place.queue.here
    for watched, elements in some:
        if watched.continues:
            attempts.AttemptRecords(place.store, watched.key, ()).move(watched)
        blocks: dict[Block, set[int]] = {}
        for element in elements:
            block = watched.block(element)
            if block is not None and block.id not in but and not watched.elsewhere(here, block):
                blocks.setdefault(block, set()).add(element - block.first)
        for block, tasks in blocks.items():
            targets.append(Target(block.id, None if len(tasks) == len(block.elements) else sorted(tasks), watched.key))
    if targets:
        place.queue.client.cancel(targets)
    return {target.id for target in targets}


def _unreachable(place: Place, watched: SubmissionState, reasons: list[str]) -> bool:
    """Whether only another scheduler can cancel a submission. Adds the reason to `reasons`."""
    report = watched.elsewhere(place.queue.here)
    if report is None or report.state.final:
        return False
    reasons.append(f"{watched.key} can't be cancelled here: {report.reason}")
    return True


def _end(place: Place, watched: SubmissionState, elements: Collection[int]) -> bool:
    """Write outcomes for elements that could run again, or were not queued yet, so that they stay cancelled.

    Returns whether there are such elements.
    """
    if watched.submitted is None:
        return False
    unqueued = {element for element in elements if watched.block(element) is None}
    queued = set(elements) - unqueued if watched.continues else set()
    stay_ended(place.store, watched.key, queued, cancelled_outcome())
    if unqueued and unqueued.issuperset(watched.unqueued):
        place.deferred.end(watched, cancelled_outcome(_NOT_QUEUED))
    else:
        stay_ended(place.store, watched.key, unqueued, cancelled_outcome(_NOT_QUEUED))
    return bool(queued or unqueued)
