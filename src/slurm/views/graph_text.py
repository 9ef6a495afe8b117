"""Nodes and edges of a graph, and their drawings as text: Mermaid and DOT."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from slurm.protocol.states import JobState
from slurm.sanitize.terminal import for_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CHILD, FAILURE = "child", "failure"
"""Kinds of edges: from a workflow to a submission that it made; to a submission that runs only if the source fails."""

_ENDS = {"success": "", FAILURE: " fails", "any": " ends"}
"""The text after the name of a job that tells how this job must end so that its dependent runs."""
_IN_PROGRESS = (JobState.RUNNING, JobState.COMPLETING, JobState.SUSPENDED)


@dataclass(frozen=True)
class Node:
    """A submission: one call, or all calls of a map."""

    key: str
    task: str
    count: int
    """The number of calls."""
    states: Mapping[JobState, int]
    """The number of calls in each state."""
    workflow: bool = False

    @property
    def state(self) -> JobState:
        """One state for all calls: the most frequent failure, if any; RUNNING if only some have ended."""
        final = [state for state in JobState if self.states.get(state) and state.final]
        if final and final != [JobState.COMPLETED]:
            return max((s for s in final if s is not JobState.COMPLETED), key=lambda state: self.states[state])
        if final and len(self.states) == 1:
            return JobState.COMPLETED
        if set(self.states) == {JobState.COMPLETED, JobState.UNKNOWN}:  # some outcomes cannot be read
            return JobState.UNKNOWN
        if final or any(self.states.get(state) for state in _IN_PROGRESS):
            return JobState.RUNNING
        return max(self.states, key=lambda state: self.states[state], default=JobState.UNKNOWN)

    @property
    def label(self) -> str:
        """Two lines of text: "square × 1000", "3 RUNNING, 997 COMPLETED"."""
        counts = ", ".join(f"{self.states[state]} {state}" for state in JobState if self.states.get(state))
        task = for_line(self.task)
        return f"{task} × {self.count}\n{counts}" if self.count > 1 else f"{task}\n{self.state}"


@dataclass(frozen=True)
class Edge:
    """A relation from a submission to one that waits for it, or that it submitted. Both are given by their keys."""

    source: str
    target: str
    kind: str
    """"child", or how the source (or parts of it) must end so that the target runs: "success", "failure" or "any"."""


MAX_SEPARATE_BOXES = 8
"""Up to this many single calls that look the same in a drawing have separate boxes; more calls share one box."""

_WAITING, _RUNNING, _SUCCEEDED, _FAILED, _STOPPED = "#e8e8e8", "#bcd9f5", "#c3e6c5", "#f5c0bc", "#f7e3b0"
_COLOURS = {
    JobState.RUNNING: _RUNNING,
    JobState.COMPLETING: _RUNNING,
    JobState.COMPLETED: _SUCCEEDED,
    JobState.CANCELLED: _STOPPED,
    JobState.PREEMPTED: _STOPPED,
}


def colour(state: JobState) -> str:
    """The fill colour of a box."""
    return _COLOURS.get(state, _FAILED if state.final else _WAITING)


def mermaid(nodes: Sequence[Node], edges: Sequence[Edge]) -> str:
    """A Mermaid flowchart."""
    nodes, edges = simplified(nodes, edges)
    ids = _ids(nodes)
    lines = ["flowchart TD"]
    for node in nodes:
        text = escape(node.label, quote=False).replace('"', "&quot;").replace("&", "#").replace("\n", "<br/>")
        lines.append(f'    {ids[node.key]}["{text}"]')
        lines.append(f"    style {ids[node.key]} fill:{colour(node.state)},stroke:#555,color:#111")
    for edge in edges:
        arrow = {CHILD: "-.->", FAILURE: f"-->|{FAILURE}|"}.get(edge.kind, "-->")
        lines.append(f"    {ids[edge.source]} {arrow} {ids[edge.target]}")
    return "\n".join([*lines, ""])


def dot(nodes: Sequence[Node], edges: Sequence[Edge]) -> str:
    """A graph for Graphviz."""
    nodes, edges = simplified(nodes, edges)
    ids = _ids(nodes)
    lines = ["digraph {", '    node [shape=box, style="rounded,filled", fontname="sans-serif"];']
    for node in nodes:
        text = node.label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'    {ids[node.key]} [label="{text}", fillcolor="{colour(node.state)}"];')
    for edge in edges:
        style = {CHILD: " [style=dashed]", FAILURE: f" [label={FAILURE}]"}.get(edge.kind, "")
        lines.append(f"    {ids[edge.source]} -> {ids[edge.target]}{style};")
    return "\n".join([*lines, "}", ""])


def text(nodes: Sequence[Node], edges: Sequence[Edge]) -> str:
    """An outline, one line for each box. The children of a workflow are below it, and upstreams are beside a box.

    The random part of each key distinguishes boxes of one task, and commands accept it as a name.
    """
    nodes, edges = _merged(nodes, edges)
    parents = {edge.target: edge.source for edge in edges if edge.kind == CHILD}
    waits: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        if edge.kind != CHILD:
            waits[edge.target].append(f"{_short(edge.source)}{_ENDS[edge.kind]}")
    below: dict[str | None, list[Node]] = defaultdict(list)
    for node in nodes:
        below[parents.get(node.key)].append(node)

    def lines(node: Node, first: str, others: str) -> Iterator[str]:
        name, _, state = node.label.partition("\n")
        after = f", after {', '.join(waits[node.key])}" if waits[node.key] else ""
        yield f"{first}{_short(node.key)} {name}: {state}{after}"
        for child in below[node.key]:
            last = child is below[node.key][-1]
            yield from lines(child, others + ("└─ " if last else "├─ "), others + ("   " if last else "│  "))

    return "".join(f"{line}\n" for node in below[None] for line in lines(node, "", ""))


def _short(key: str) -> str:
    """The random part of a key."""
    return for_line(key.rpartition("-")[2])


def _ids(nodes: Sequence[Node]) -> Mapping[str, str]:
    return {node.key: f"n{number}" for number, node in enumerate(nodes)}


def simplified(nodes: Sequence[Node], edges: Sequence[Edge]) -> tuple[Sequence[Node], Sequence[Edge]]:
    """The nodes and edges to draw.

    Many similar calls become one box. A workflow points only to children that do not wait for its other children.
    """
    nodes, edges = _merged(nodes, edges)
    parents = {edge.target: edge.source for edge in edges if edge.kind == CHILD}
    indirect = {e.target for e in edges if e.kind != CHILD and parents.get(e.source) == parents.get(e.target)}
    return nodes, [edge for edge in edges if edge.kind != CHILD or edge.target not in indirect]


def _merged(nodes: Sequence[Node], edges: Sequence[Edge]) -> tuple[Sequence[Node], Sequence[Edge]]:
    neighbours: dict[str, set[tuple[bool, str, str]]] = {node.key: set() for node in nodes}
    for edge in edges:
        neighbours[edge.source].add((True, edge.target, edge.kind))
        neighbours[edge.target].add((False, edge.source, edge.kind))
    similar: dict[object, list[Node]] = defaultdict(list)
    for node in nodes:
        similar[node.task, node.workflow, frozenset(neighbours[node.key])].append(node)
    merged_into: dict[str, str] = {}
    boxes: list[Node] = []
    for group in similar.values():
        if len(group) <= MAX_SEPARATE_BOXES:
            boxes += group
            continue
        first, states = group[0], Counter[JobState]()
        for node in group:
            states.update(node.states)
            merged_into[node.key] = first.key
        boxes.append(Node(first.key, first.task, sum(node.count for node in group), states, first.workflow))
    moved = (Edge(merged_into.get(e.source, e.source), merged_into.get(e.target, e.target), e.kind) for e in edges)
    return boxes, list(dict.fromkeys(moved))
