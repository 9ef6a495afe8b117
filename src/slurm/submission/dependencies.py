"""Dependencies: turn the references of calls into dependencies for the scheduler, as few as possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.errors import SubmissionError
from slurm.protocol import Edge
from slurm.schedulers import ids
from slurm.schedulers.base import Dependency
from slurm.submission import external_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from slurm.protocol import Block
    from slurm.protocol.outcomes import Outcome
    from slurm.serialization.pickling import Placeholder, Reference
    from slurm.storage.job_store import JobStore
    from slurm.submission.submission_state import SubmissionState

    Known = Callable[[str], SubmissionState]
    MaySucceed = Callable[[str, int], bool]

_MOST_TERMS = 100
"""A dependency on more array tasks than this waits for the whole arrays; then the runner checks the outcomes."""
_KINDS = {"success": "afterok", "failure": "afternotok", "any": "afterany"}


def referred(references: Sequence[frozenset[Reference]], known: Known, *, chunk: int) -> list[Edge]:
    """The edges for the references in the arguments of calls, `chunk` calls to an element; one for each upstream."""
    needs: dict[str, list[set[int]]] = {}
    for number, of_call in enumerate(references):
        for reference in of_call:
            if reference.key not in needs:
                needs[reference.key] = [set() for _ in references]
            needs[reference.key][number].update(reference.indices)
    return [_edge(key, sets, known(key), chunk) for key, sets in needs.items()]


def _edge(key: str, needs: Sequence[set[int]], upstream: SubmissionState, chunk: int) -> Edge:
    count = upstream.count
    if (
        chunk == upstream.chunk == 1
        and count == len(needs) > 1
        and all(need == {number} for number, need in enumerate(needs))
    ):
        return Edge(key=key, elementwise=True)
    every = set().union(*needs)
    alike = all(need == every for need in needs)
    indices = None if len(every) == count else tuple(sorted(every))
    # If calls need different elements, all calls wait for all elements. The runner checks the outcomes that each needs.
    return Edge(key=key, indices=indices, on="success" if alike and (indices is None or len(every) == 1) else "any")


def declared(upstreams: Iterable[tuple[Placeholder, str]], known: Known) -> list[Edge]:
    """The edges for the jobs of `.after(…)`; none for an empty array."""
    edges = []
    for reference, on in ((placeholder.reference, on) for placeholder, on in upstreams):
        if indices := tuple(reference.indices):
            whole = len(indices) == known(reference.key).count
            edges.append(Edge(key=reference.key, on=on, indices=None if whole else indices))
    return edges


def to_check(edges: Iterable[Edge], known: Known) -> tuple[tuple[str, str, tuple[int, ...], int], ...]:
    """The key, condition, indices and chunk size of what the runner checks about upstreams.

    The condition "end" is that calls have ended. The scheduler counts a failed attempt as the end of a job, although
    another attempt may follow.
    """
    found: list[tuple[str, str, tuple[int, ...], int]] = []
    for edge in edges:
        upstream = known(edge.key)
        conditions = ["end"] if upstream.continues and edge.on != "success" else []
        conditions += [edge.on] if edge.on != "any" else []
        found += [(edge.key, on, tuple(_indices(edge, upstream)), upstream.chunk) for on in conditions]
    return tuple(found)


def _indices(edge: Edge, watched: SubmissionState) -> Sequence[int]:
    return range(watched.count) if edge.indices is None else edge.indices


def of_some(edge: Edge, indices: Sequence[int]) -> Edge:
    """The edge for a new submission that contains only some elements of the one that has this edge."""
    if not edge.elementwise:
        return edge
    return Edge(key=edge.key, indices=tuple(indices), on="success" if len(indices) == 1 else "any")


def queued(edges: Iterable[Edge], known: Known) -> bool:
    """Whether all upstream elements were queued. The scheduler cannot wait for an element that was not queued."""
    upstreams = [known(edge.key) for edge in edges]
    return all(upstream.element_finished(element) for upstream in upstreams for element in upstream.unqueued)


def of_block(edges: Iterable[Edge], block: Block, known: Known) -> tuple[Dependency, ...]:
    """The dependencies of a block. Upstreams that have ended are left out: the runner checks their outcomes."""
    found: list[Dependency] = []
    for edge in edges:
        watched = known(edge.key)
        if all(map(watched.finished, _indices(edge, watched))):
            continue
        if watched.submitted is None:
            raise SubmissionError(f"{edge.key} was never submitted, so nothing can wait for it")
        blocks = watched.submitted.blocks
        alike = not edge.elementwise or any((b.first, b.count) == (block.first, block.count) for b in blocks)
        if watched.has_moved or not alike:
            wanted = block.elements if edge.elementwise else map(watched.element, _indices(edge, watched))
            found += _of_unfinished(edge, watched, set(wanted))
        else:
            found.append(_dependency(edge, watched, blocks, block.first))
    return tuple(found)


def on_links(edges: Iterable[Edge], links: Mapping[str, str]) -> list[Dependency]:
    """The dependencies on single calls that the same command queues. `links` are placeholders for ids, by key."""
    return [Dependency(_KINDS[edge.on], (links[edge.key],)) for edge in edges if edge.key in links]


def of_calls(edges: Iterable[Edge], calls: range, known: Known) -> tuple[Dependency, ...]:
    """The dependencies of a job that runs these calls again."""
    upstreams = [(edge, known(edge.key)) for edge in edges]
    found = (_of_unfinished(edge, upstream, elements(edge, calls, upstream)) for edge, upstream in upstreams)
    return tuple(dependency for some in found for dependency in some)


def elements(edge: Edge, calls: range, upstream: SubmissionState) -> set[int]:
    """The elements of an upstream submission that calls wait for."""
    return {upstream.element(index) for index in (calls if edge.elementwise else _indices(edge, upstream))}


def _of_unfinished(edge: Edge, watched: SubmissionState, elements: Iterable[int]) -> Sequence[Dependency]:
    """A dependency on the unfinished elements in their current jobs; none if all have finished."""
    found = [(block, e) for e in sorted(elements) if not watched.element_finished(e) and (block := watched.block(e))]
    if len(found) > _MOST_TERMS or (edge.elementwise and len(found) > 1):
        return [on_blocks("afterany", watched, [block for block, _ in found])]
    return [_on_elements(_KINDS[edge.on], watched, found)] if found else []


def failed_upstreams(
    store: JobStore, key: str, elements: Collection[int], *, unless: MaySucceed = lambda _key, _index: False
) -> Mapping[int, str]:
    """For elements that never ran, the upstream that failed and its error, as text for an exception.

    Elements that wait for calls that may still succeed, according to `unless`, are left out. If all upstreams have
    ended as requested, an external job has failed.
    """
    submission = store.records(key).submission
    calls = {e: range(e * submission.chunk, min((e + 1) * submission.chunk, submission.count)) for e in elements}
    found: dict[int, str] = {}
    undecided = False
    for edge in submission.dependencies:
        upstream = store.records(edge.key).submission
        every = range(upstream.count) if edge.indices is None else edge.indices
        wanted = sorted({call for some in calls.values() for call in some}) if edge.elementwise else every
        outcomes = store.outcomes(edge.key, wanted, chunk=upstream.chunk)
        ended = [index for index in wanted if index in outcomes or not unless(edge.key, index)]
        undecided |= len(ended) < len(wanted)
        failed = [index for index in ended if index not in outcomes or not outcomes[index].succeeded]
        for element, some in calls.items():
            mine = next((index for index in failed if not edge.elementwise or index in some), None)
            if edge.on == "success" and mine is not None:
                found.setdefault(element, f"{edge.key}[{mine}] {_end(outcomes.get(mine))}")
            elif edge.on == "failure" and not failed and len(ended) == len(wanted):
                found.setdefault(element, f"{edge.key} succeeded, and this job runs only if it fails")
    if submission.after and not undecided:
        found = {**dict.fromkeys(calls, external_jobs.failure(submission.after)), **found}
    return found


def _end(outcome: Outcome | None) -> str:
    if outcome is None or outcome.state:
        return f"ended as {outcome.state}" if outcome else "ended without an outcome"
    error = outcome.error
    return f"failed: {error.type}: {error.message}" if error else f"failed with status {outcome.exit_code}"


def _dependency(edge: Edge, watched: SubmissionState, blocks: Sequence[Block], first: int) -> Dependency:
    if edge.elementwise:
        return on_blocks("aftercorr", watched, [block for block in blocks if block.first == first])
    kind = _KINDS[edge.on]
    if edge.indices is None:
        return on_blocks(kind, watched, blocks)
    elements = sorted({watched.element(index) for index in edge.indices})
    concerned = [b for b in blocks if any(b.first <= element < b.first + b.count for element in elements)]
    if len(elements) == watched.chunk == 1:
        return _on_elements(kind, watched, [(concerned[0], elements[0])])
    # Some of many calls: wait for all elements of their blocks; the runner checks the outcomes of these calls.
    return on_blocks("afterany", watched, concerned)


def on_blocks(kind: str, watched: SubmissionState, blocks: Sequence[Block]) -> Dependency:
    """A dependency on whole blocks of a submission."""
    return Dependency(kind, tuple(dict.fromkeys(block.id for block in blocks)), _clusters(watched, blocks))


def _on_elements(kind: str, watched: SubmissionState, found: Sequence[tuple[Block, int]]) -> Dependency:
    """A dependency on elements of a submission, each with its current block."""
    named = tuple(ids.element_id(watched.scheduler, block, element) for block, element in found)
    return Dependency(kind, named, _clusters(watched, [block for block, _ in found]))


def _clusters(watched: SubmissionState, blocks: Iterable[Block]) -> frozenset[str]:
    return frozenset(filter(None, (ids.cluster(watched.scheduler, block) for block in blocks)))
