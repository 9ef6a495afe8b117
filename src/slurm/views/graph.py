"""Graph: submissions, their dependencies, the children of workflows, and their states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurm.protocol.states import JobState
from slurm.tracking.workflow_journal import several_children
from slurm.views.graph_svg import svg
from slurm.views.graph_text import CHILD, Edge, Node, dot, mermaid, text
from slurm.views.overview import overviews
from slurm.views.status import Part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurm.places.place import Place
    from slurm.protocol import Submission


@dataclass(frozen=True)
class Graph:
    """Submissions and their relations at the time of the query. A notebook shows it as a picture."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def text(self) -> str:
        """An outline in plain text, one line for each submission."""
        return text(self.nodes, self.edges)

    def data(self) -> dict[str, Any]:
        """The submissions and their relations as plain data, for JSON."""
        return {
            "nodes": [
                {
                    "key": node.key,
                    "task": node.task,
                    "count": node.count,
                    "states": {state.value: node.states[state] for state in JobState if node.states.get(state)},
                    "workflow": node.workflow,
                }
                for node in self.nodes
            ],
            "edges": [{"source": edge.source, "target": edge.target, "kind": edge.kind} for edge in self.edges],
        }

    def mermaid(self) -> str:
        """The text of a Mermaid flowchart, for documents and for mermaid.live."""
        return mermaid(self.nodes, self.edges)

    def dot(self) -> str:
        """The text of a graph for Graphviz."""
        return dot(self.nodes, self.edges)

    def svg(self) -> str:
        """A self-contained SVG picture."""
        return svg(self.nodes, self.edges)

    _repr_svg_ = svg


def graph_of(place: Place, parts: Iterable[Part]) -> Graph:
    """The graph of some submissions, with everything that they wait for and all descendants of workflows.

    Submissions to any scheduler under the root of the place are included. The children of a workflow that is only an
    upstream are left out. Makes a few round trips for each level of the
    graph, and one query to the scheduler if anything is unfinished.
    """
    found: dict[str, Submission] = {}
    edges: dict[Edge, None] = {}
    calls: dict[str, set[int]] = {}
    for part in parts:
        calls.setdefault(part.state.key, set()).update(part.indices)
    expanded: dict[str, set[int] | None] = {**calls}
    frontier: dict[str, None] = dict.fromkeys(calls)
    submissions: dict[str, Part] = {}
    while frontier:
        for records in place.store.several_records(list(frontier)):
            at = place.owner(records)
            if at is not None:
                state = at.registry.add(*records)
                found[state.key] = records.submission
                submissions[state.key] = Part(at, state, range(state.count))
        workflows = {key: expanded[key] for key in frontier if key in expanded and key in found and found[key].workflow}
        children = several_children(place.store, place.transport, workflows) if workflows else {}
        new = [Edge(key, child.key, CHILD) for key, some in children.items() for child in some]
        expanded |= {edge.target: None for edge in new}
        new += [Edge(e.key, key, e.on) for key in frontier if key in found for e in found[key].dependencies]
        edges |= dict.fromkeys(new)
        frontier = {key: None for edge in new for key in (edge.source, edge.target) if key not in found}
    states = {key: each.states for key, each in zip(submissions, overviews([*submissions.values()]), strict=True)}
    order = sorted(found.values(), key=lambda submission: (submission.created, submission.key))
    nodes = [Node(s.key, s.task, s.count, states[s.key], s.workflow is not None) for s in order]
    rank = {node.key: number for number, node in enumerate(nodes)}
    known = [edge for edge in edges if {edge.source, edge.target} <= found.keys()]
    return Graph(tuple(nodes), tuple(sorted(known, key=lambda edge: (rank[edge.source], rank[edge.target]))))
