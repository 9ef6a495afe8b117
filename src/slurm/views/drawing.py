"""Drawings of graphs as text: Mermaid and DOT; and what all drawings have in common."""

from __future__ import annotations

from collections import Counter, defaultdict
from html import escape
from typing import TYPE_CHECKING

from slurm.protocol.states import JobState
from slurm.views.graph import CHILD, FAILURE, Edge, Graph, Node

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_ALIKE = 8
"""So many single calls that differ in nothing that a drawing shows are drawn each by itself; more are one box."""

_WAITS, _RUNS, _DONE, _FAILED, _ENDED = "#e8e8e8", "#bcd9f5", "#c3e6c5", "#f5c0bc", "#f7e3b0"
_COLOURS = {
    JobState.RUNNING: _RUNS,
    JobState.COMPLETING: _RUNS,
    JobState.COMPLETED: _DONE,
    JobState.CANCELLED: _ENDED,
    JobState.PREEMPTED: _ENDED,
}


def colour(state: JobState) -> str:
    """The colour of a box."""
    return _COLOURS.get(state, _FAILED if state.final else _WAITS)


def mermaid(graph: Graph) -> str:
    """A Mermaid flowchart."""
    graph = simplified(graph)
    ids = _ids(graph)
    lines = ["flowchart TD"]
    for node in graph.nodes:
        text = escape(node.label, quote=False).replace('"', "&quot;").replace("&", "#").replace("\n", "<br/>")
        lines.append(f'    {ids[node.key]}["{text}"]')
        lines.append(f"    style {ids[node.key]} fill:{colour(node.state)},stroke:#555,color:#111")
    for edge in graph.edges:
        arrow = {CHILD: "-.->", FAILURE: f"-->|{FAILURE}|"}.get(edge.kind, "-->")
        lines.append(f"    {ids[edge.source]} {arrow} {ids[edge.target]}")
    return "\n".join([*lines, ""])


def dot(graph: Graph) -> str:
    """A graph for Graphviz."""
    graph = simplified(graph)
    ids = _ids(graph)
    lines = ["digraph {", '    node [shape=box, style="rounded,filled", fontname="sans-serif"];']
    for node in graph.nodes:
        text = node.label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'    {ids[node.key]} [label="{text}", fillcolor="{colour(node.state)}"];')
    for edge in graph.edges:
        style = {CHILD: " [style=dashed]", FAILURE: f" [label={FAILURE}]"}.get(edge.kind, "")
        lines.append(f"    {ids[edge.source]} -> {ids[edge.target]}{style};")
    return "\n".join([*lines, "}", ""])


def _ids(graph: Graph) -> Mapping[str, str]:
    return {node.key: f"n{number}" for number, node in enumerate(graph.nodes)}


def simplified(graph: Graph) -> Graph:
    """A graph that is fit to be looked at.

    Many calls that are alike become one box, and a workflow points only to those of its children that wait for none of
    the others: these lead to the rest.
    """
    graph = _folded(graph)
    parents = {edge.target: edge.source for edge in graph.edges if edge.kind == CHILD}
    led = {e.target for e in graph.edges if e.kind != CHILD and parents.get(e.source) == parents.get(e.target)}
    return Graph(graph.nodes, tuple(edge for edge in graph.edges if edge.kind != CHILD or edge.target not in led))


def _folded(graph: Graph) -> Graph:
    around: dict[str, set[tuple[bool, str, str]]] = {node.key: set() for node in graph.nodes}
    for edge in graph.edges:
        around[edge.source].add((True, edge.target, edge.kind))
        around[edge.target].add((False, edge.source, edge.kind))
    alike: dict[object, list[Node]] = defaultdict(list)
    for node in graph.nodes:
        alike[node.task, node.workflow, frozenset(around[node.key])].append(node)
    into: dict[str, str] = {}
    nodes: list[Node] = []
    for group in alike.values():
        if len(group) <= MOST_ALIKE:
            nodes += group
            continue
        first, states = group[0], Counter[JobState]()
        for node in group:
            states.update(node.states)
            into[node.key] = first.key
        nodes.append(Node(first.key, first.task, sum(node.count for node in group), states, first.workflow))
    edges = [Edge(into.get(e.source, e.source), into.get(e.target, e.target), e.kind) for e in graph.edges]
    return Graph(tuple(nodes), tuple(dict.fromkeys(edges)))
