"""Graph: what waits for what, what submitted what, and how far each is: as data, and drawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slurm.protocol.states import JobState
from slurm.sanitize.terminal import for_line
from slurm.tracking.workflow_journal import several_children
from slurm.views.status import Part, statuses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurm.places.place import Place
    from slurm.protocol import Submission
    from slurm.submission.submission_state import SubmissionState

CHILD, FAILURE = "child", "failure"
"""Kinds of edges: from a workflow to what it has submitted, and to what runs only if something fails."""

_UNDER_WAY = (JobState.RUNNING, JobState.COMPLETING, JobState.SUSPENDED)


@dataclass(frozen=True)
class Node:
    """A submission: a call, or all calls of a map."""

    key: str
    task: str
    count: int
    """How many calls."""
    states: Mapping[JobState, int]
    """How many of them are in each state."""
    workflow: bool = False

    @property
    def state(self) -> JobState:
        """One state for all: of those that failed, if any have; RUNNING if some have begun and not all have ended."""
        failed = [state for state in JobState if self.states.get(state) and state.final]
        if failed and failed != [JobState.COMPLETED]:
            return max((s for s in failed if s is not JobState.COMPLETED), key=lambda state: self.states[state])
        if failed and len(self.states) == 1:
            return JobState.COMPLETED
        if set(self.states) == {JobState.COMPLETED, JobState.UNKNOWN}:  # the outcome of some can't be read
            return JobState.UNKNOWN
        if failed or any(self.states.get(state) for state in _UNDER_WAY):
            return JobState.RUNNING
        return max(self.states, key=lambda state: self.states[state], default=JobState.UNKNOWN)

    @property
    def label(self) -> str:
        """What it is, in two lines: "square × 1000", "3 RUNNING, 997 COMPLETED"."""
        counts = ", ".join(f"{self.states[state]} {state}" for state in JobState if self.states.get(state))
        task = for_line(self.task)
        return f"{task} × {self.count}\n{counts}" if self.count > 1 else f"{task}\n{self.state}"


@dataclass(frozen=True)
class Edge:
    """From a submission to one that waits for it, or that it has submitted; both by their keys."""

    source: str
    target: str
    kind: str
    """What the target waits for: "success" or "failure" of the source, "any" end of it or of parts; or "child"."""


@dataclass(frozen=True)
class Graph:
    """Jobs, what they wait for, and what they have submitted, as it was when it was asked for.

    A notebook shows it as a picture.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def mermaid(self) -> str:
        """The text of a Mermaid flowchart, for documents and for mermaid.live."""
        from slurm.views.drawing import mermaid  # noqa: PLC0415 - it draws graphs, so it stands above this module

        return mermaid(self)

    def dot(self) -> str:
        """The text of a graph for Graphviz."""
        from slurm.views.drawing import dot  # noqa: PLC0415 - as above

        return dot(self)

    def svg(self) -> str:
        """A picture, complete in itself."""
        from slurm.views.picture import svg  # noqa: PLC0415 - as above

        return svg(self)

    def _repr_svg_(self) -> str:
        return self.svg()


def graph_of(place: Place, parts: Iterable[Part]) -> Graph:
    """The graph of submissions: all that they wait for, however far up, and all that workflows submit, however deep.

    Of workflows that are only waited for, not what they have submitted. A few round trips for each step away, and one
    question to the scheduler if anything has not ended.
    """
    found: dict[str, Submission] = {}
    edges: dict[Edge, None] = {}
    calls: dict[str, set[int]] = {}
    for part in parts:
        calls.setdefault(part.watched.key, set()).update(part.indices)
    inside: dict[str, set[int] | None] = {**calls}
    frontier: dict[str, None] = dict.fromkeys(calls)
    watched: dict[str, SubmissionState] = {}
    while frontier:
        for records in place.store.several_records(list(frontier)):
            found[records.submission.key] = records.submission
            watched[records.submission.key] = place.registry.add(*records)
        workflows = {key: inside[key] for key in frontier if key in inside and key in found and found[key].workflow}
        children = several_children(place.store, place.transport, workflows) if workflows else {}
        next_: dict[str, None] = {}
        for key, some in children.items():
            inside |= {child.key: None for child in some}
            edges |= dict.fromkeys(Edge(key, child.key, CHILD) for child in some)
            next_ |= dict.fromkeys(child.key for child in some)
        for submission in (found[key] for key in frontier if key in found):
            edges |= dict.fromkeys(Edge(edge.key, submission.key, edge.on) for edge in submission.dependencies)
            next_ |= dict.fromkeys(edge.key for edge in submission.dependencies)
        frontier = {key: None for key in next_ if key not in found}
    states = _states(place, watched)
    order = sorted(found.values(), key=lambda submission: (submission.created, submission.key))
    nodes = [Node(s.key, s.task, s.count, states[s.key], s.workflow is not None) for s in order]
    rank = {node.key: number for number, node in enumerate(nodes)}
    known = [edge for edge in edges if {edge.source, edge.target} <= found.keys()]
    return Graph(tuple(nodes), tuple(sorted(known, key=lambda edge: (rank[edge.source], rank[edge.target]))))


def _states(place: Place, several: Mapping[str, SubmissionState]) -> Mapping[str, Mapping[JobState, int]]:
    """How many calls of each submission are in each state."""
    parts = [Part(place, watched, range(watched.count)) for watched in several.values()]
    return {key: Counter(s.state for s in told) for key, told in zip(several, statuses(parts), strict=True)}
