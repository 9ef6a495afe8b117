"""A graph as a picture: nodes in layers, each below all that lead to it; an SVG that needs nothing from elsewhere."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from slurm.views.displays import escape
from slurm.views.drawing import colour, simplified
from slurm.views.graph import CHILD, FAILURE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.views.graph import Edge, Graph, Node

_CHARACTER, _PADDING, _HEIGHT, _GAP, _BETWEEN, _MARGIN = 7.2, 22.0, 44.0, 24.0, 44.0, 8.0
_SWEEPS = 8

_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{0:.0f}" height="{1:.0f}" '
    'viewBox="0 0 {0:.0f} {1:.0f}" font-family="sans-serif" font-size="12" text-anchor="middle">'
)


class _Place(NamedTuple):
    """Where a node is, or where an edge passes through a layer."""

    name: str
    layer: int


def svg(graph: Graph) -> str:
    """The picture."""
    graph = simplified(graph)
    paths = _paths(graph)
    rows = _rows(graph, paths)
    nodes = {node.key: node for node in graph.nodes}
    widths = {key: _PADDING + _CHARACTER * max(map(len, node.label.split("\n"))) for key, node in nodes.items()}
    middles = _middles(rows, widths)
    width = max((sum(widths.get(place.name, 0.0) + _GAP for place in row) for row in rows), default=_GAP) - _GAP
    height = len(rows) * (_HEIGHT + _BETWEEN) - _BETWEEN
    return "\n".join([
        _SVG.format(width + 2 * _MARGIN, height + 2 * _MARGIN),
        *(_arrow(edge, [middles[place] for place in places]) for edge, places in paths.items()),
        *(_box(nodes[p.name], *middles[p], widths[p.name]) for row in rows for p in row if p.name in nodes),
        "</svg>",
        "",
    ])  # fmt: skip


def _layers(graph: Graph) -> Mapping[str, int]:
    """For each node the length of the longest way to it."""
    sources: dict[str, list[str]] = defaultdict(list)
    for edge in graph.edges:
        sources[edge.target].append(edge.source)
    layers: dict[str, int] = {}
    waiting = [node.key for node in graph.nodes]
    while waiting:
        ready = [key for key in waiting if all(source in layers for source in sources[key])]
        for key in ready:
            layers[key] = max((layers[source] + 1 for source in sources[key]), default=0)
        waiting = [key for key in waiting if key not in layers]
    return layers


def _paths(graph: Graph) -> Mapping[Edge, Sequence[_Place]]:
    """Where each edge begins, passes through layers, and ends."""
    layers = _layers(graph)
    return {
        edge: [
            _Place(edge.source, layers[edge.source]),
            *(_Place(f"{edge}", n) for n in range(layers[edge.source] + 1, layers[edge.target])),
            _Place(edge.target, layers[edge.target]),
        ]
        for edge in graph.edges
    }


def _rows(graph: Graph, paths: Mapping[Edge, Sequence[_Place]]) -> Sequence[Sequence[_Place]]:
    """The places of each layer, in an order in which they are near to those that they are joined to."""
    layers = _layers(graph)
    rows: list[list[_Place]] = [[] for _ in range(max(layers.values(), default=-1) + 1)]
    for key, layer in layers.items():
        rows[layer].append(_Place(key, layer))
    joined: dict[_Place, list[_Place]] = defaultdict(list)
    for places in paths.values():
        for place in places[1:-1]:
            rows[place.layer].append(place)
        for upper, lower in pairwise(places):
            joined[upper].append(lower)
            joined[lower].append(upper)
    for sweep in range(_SWEEPS):
        order = [*range(1, len(rows))] if sweep % 2 == 0 else [*range(len(rows) - 2, -1, -1)]
        for number in order:
            fixed = rows[number - 1 if sweep % 2 == 0 else number + 1]
            rows[number] = _near(rows[number], fixed, joined)
    return rows


def _near(row: Sequence[_Place], fixed: Sequence[_Place], joined: Mapping[_Place, list[_Place]]) -> list[_Place]:
    """A row in the order of the mean rank of what each is joined to in another row."""
    ranks = {place: rank / len(fixed) for rank, place in enumerate(fixed)}
    found: dict[_Place, float] = {}
    for rank, place in enumerate(row):
        there = [ranks[other] for other in joined[place] if other in ranks]
        found[place] = sum(there) / len(there) if there else rank / len(row)
    return sorted(row, key=found.__getitem__)


def _middles(rows: Sequence[Sequence[_Place]], widths: Mapping[str, float]) -> Mapping[_Place, tuple[float, float]]:
    """The middle of each place; each layer is centred."""
    spans = [sum(widths.get(place.name, 0.0) + _GAP for place in row) - _GAP for row in rows]
    found: dict[_Place, tuple[float, float]] = {}
    for number, (row, span) in enumerate(zip(rows, spans, strict=True)):
        x = _MARGIN + (max(spans) - span) / 2
        for place in row:
            width = widths.get(place.name, 0.0)
            found[place] = (x + width / 2, _MARGIN + _HEIGHT / 2 + number * (_HEIGHT + _BETWEEN))
            x += width + _GAP
    return found


def _box(node: Node, x: float, y: float, width: float) -> str:
    first, second = map(escape, node.label.split("\n"))
    return (
        f"<g><title>{escape(node.key)}</title>"
        f'<rect x="{x - width / 2:.1f}" y="{y - _HEIGHT / 2:.1f}" width="{width:.1f}" height="{_HEIGHT:.0f}" rx="6" '
        f'fill="{colour(node.state)}" stroke="#555" stroke-width="{2.5 if node.workflow else 1}"/>'
        f'<text x="{x:.1f}" y="{y - 4:.1f}" font-weight="bold" fill="#111">{first}</text>'
        f'<text x="{x:.1f}" y="{y + 13:.1f}" fill="#333">{second}</text></g>'
    )


def _arrow(edge: Edge, middles: Sequence[tuple[float, float]]) -> str:
    """A curve from below one box to above another, straight down where it passes between boxes."""
    x, y = middles[0]
    y += _HEIGHT / 2
    path = f"M{x:.1f} {y:.1f}"
    for to_x, middle in middles[1:]:
        to_y = middle - _HEIGHT / 2
        half = (y + to_y) / 2
        path += f" C{x:.1f} {half:.1f} {to_x:.1f} {half:.1f} {to_x:.1f} {to_y:.1f} V{middle + _HEIGHT / 2:.1f}"
        x, y = to_x, middle + _HEIGHT / 2
    path = path.rpartition(" ")[0]  # the last one ends above the box
    y -= _HEIGHT
    dashes = ' stroke-dasharray="4 3"' if edge.kind == CHILD else ""
    word = f'<text x="{x + 26:.1f}" y="{y - 8:.1f}" fill="#777">{FAILURE}</text>' if edge.kind == FAILURE else ""
    return (
        f'<path d="{path}" fill="none" stroke="#888" stroke-width="1.3"{dashes}/>'
        f'<path d="M{x - 4:.1f} {y - 8:.1f} h8 l-4 8 z" fill="#888"/>{word}'
    )
