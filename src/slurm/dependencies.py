"""Dependencies: from what calls refer to, to what the scheduler is told; never one for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.errors import SubmissionError
from slurm.protocol import Edge
from slurm.schedulers.base import Dependency

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from slurm.protocol import Block, Outcome
    from slurm.serialization import Placeholder, Reference
    from slurm.store import Store
    from slurm.watched import Watched

    Known = Callable[[str], Watched]

_KINDS = {"success": "afterok", "failure": "afternotok", "any": "afterany"}


def referred(references: Sequence[frozenset[Reference]], known: Known, *, chunk: int) -> list[Edge]:
    """What n calls, `chunk` to an element, wait for, as their arguments tell: an edge for each upstream submission."""
    needs: dict[str, list[set[int]]] = {}
    for number, of_call in enumerate(references):
        for reference in of_call:
            if reference.key not in needs:
                needs[reference.key] = [set() for _ in references]
            needs[reference.key][number].update(reference.indices)
    return [_edge(key, sets, known(key), chunk) for key, sets in needs.items()]


def _edge(key: str, needs: Sequence[set[int]], upstream: Watched, chunk: int) -> Edge:
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
    # Where calls need different elements, each must wait, but only its own may fail it: the runner tells them apart.
    return Edge(key=key, indices=indices, on="success" if alike and (indices is None or len(every) == 1) else "any")


def declared(upstreams: Iterable[tuple[Placeholder, str]], known: Known) -> list[Edge]:
    """What `.after(…)` named."""
    edges = []
    for placeholder, on in upstreams:
        reference = placeholder.reference
        indices = tuple(reference.indices)
        if not indices:  # an empty array: there is nothing to wait for
            continue
        whole = len(indices) == known(reference.key).count
        edges.append(Edge(key=reference.key, on=on, indices=None if whole else indices))
    return edges


def to_check(edges: Iterable[Edge], known: Known) -> tuple[tuple[str, str, tuple[int, ...], int], ...]:
    """What the runner holds against the outcomes before it runs the call; for "any" there is nothing to hold."""
    upstreams = [(edge, known(edge.key)) for edge in edges if edge.on != "any"]
    return tuple((edge.key, edge.on, tuple(_indices(edge, upstream)), upstream.chunk) for edge, upstream in upstreams)


def _indices(edge: Edge, watched: Watched) -> Sequence[int]:
    return range(watched.count) if edge.indices is None else edge.indices


def of_some(edge: Edge, indices: Sequence[int]) -> Edge:
    """The edge of a submission as it is for some of its elements only, which are numbered anew."""
    if not edge.elementwise:
        return edge
    return Edge(key=edge.key, indices=tuple(indices), on="success" if len(indices) == 1 else "any")


def of_block(edges: Iterable[Edge], first: int, known: Known) -> tuple[Dependency, ...]:
    """What the scheduler is told of a block: nothing of upstreams that have ended, whose outcomes say all there is."""
    found = []
    for edge in edges:
        watched = known(edge.key)
        if all(map(watched.finished, _indices(edge, watched))):
            continue
        if watched.submitted is None:
            message = f"{edge.key} was never submitted, so nothing can wait for it"
            raise SubmissionError(message)
        found.append(_dependency(edge, watched, watched.submitted.blocks, first))
    return tuple(found)


def failed_upstream(store: Store, key: str, index: int) -> str | None:
    """Which upstream failed an element that was never run, and with what: words for an error."""
    for edge in store.records(key).submission.dependencies:
        upstream = store.records(edge.key).submission
        every = range(upstream.count) if edge.indices is None else edge.indices
        wanted = (index,) if edge.elementwise else every
        outcomes = store.outcomes(edge.key, wanted, chunk=upstream.chunk)
        failed = next((index for index in wanted if index not in outcomes or not outcomes[index].succeeded), None)
        if edge.on == "success" and failed is not None:
            return f"{edge.key}[{failed}] {_end(outcomes.get(failed))}"
        if edge.on == "failure" and failed is None:
            return f"{edge.key} succeeded, and this was to run only if it failed"
    return None


def _end(outcome: Outcome | None) -> str:
    if outcome is None:
        return "ended without an outcome"
    error = outcome.error
    return f"failed: {error.type}: {error.message}" if error else f"failed with status {outcome.exit_code}"


def _dependency(edge: Edge, watched: Watched, blocks: Sequence[Block], first: int) -> Dependency:
    if edge.elementwise:
        return Dependency("aftercorr", tuple(block.id for block in blocks if block.first == first))
    kind = _KINDS[edge.on]
    if edge.indices is None:
        return Dependency(kind, tuple(block.id for block in blocks))
    elements = sorted({watched.element(index) for index in edge.indices})
    concerned = [b for b in blocks if any(b.first <= element < b.first + b.count for element in elements)]
    if len(elements) == watched.chunk == 1:
        return Dependency(kind, (f"{concerned[0].id}_{elements[0] - concerned[0].first}",))
    # Some calls of many: wait for all that the blocks make, and let the runner look at those that matter.
    return Dependency("afterany", tuple(block.id for block in concerned))
