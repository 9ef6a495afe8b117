"""Draw a graph as a self-contained SVG. Nodes are in layers, each below the nodes that lead to it."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from slurm.views.displays import escape
from slurm.views.graph_text import CHILD, FAILURE, colour, simplified

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.views.graph_text import Edge, Node

_CHARACTER, _PADDING, _HEIGHT, _GAP, _BETWEEN, _MARGIN = 7.2, 22.0, 44.0, 24.0, 44.0, 8.0
_SWEEPS = 8

_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{0:.0f}" height="{1:.0f}" '
    'viewBox="0 0 {0:.0f} {1:.0f}" font-family="sans-serif" font-size="12" text-anchor="middle">'
)


class _Point(NamedTuple):
    """A node in its layer, or the crossing of an edge through a layer."""

    name: str
    layer: int


def svg(nodes: Sequence[Node], edges: Sequence[Edge]) -> str:
    """The picture as the text of an SVG file."""
    nodes, edges = simplified(nodes, edges)
    layers = _layers(nodes, edges)
    paths = _paths(edges, layers)
    rows = _rows(layers, paths)
    boxes = {node.key: node for node in nodes}
    widths = {key: _PADDING + _CHARACTER * max(map(len, node.label.split("\n"))) for key, node in boxes.items()}
    centres = _centres(rows, widths)
    width = max((sum(widths.get(point.name, 0.0) + _GAP for point in row) for row in rows), default=_GAP) - _GAP
    height = len(rows) * (_HEIGHT + _BETWEEN) - _BETWEEN
    return "\n".join([
        _SVG.format(width + 2 * _MARGIN, height + 2 * _MARGIN),
        *(_arrow(edge, [centres[point] for point in path]) for edge, path in paths.items()),
        *(_box(boxes[p.name], *centres[p], widths[p.name]) for row in rows for p in row if p.name in boxes),
        "</svg>",
        "",
    ])  # fmt: skip


def _layers(nodes: Sequence[Node], edges: Sequence[Edge]) -> Mapping[str, int]:
    """The layer of each node: the length of the longest path that leads to it."""
    sources: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        sources[edge.target].append(edge.source)
    layers: dict[str, int] = {}
    waiting = [node.key for node in nodes]
    while waiting:
        ready = [key for key in waiting if all(source in layers for source in sources[key])]
        for key in ready:
            layers[key] = max((layers[source] + 1 for source in sources[key]), default=0)
        waiting = [key for key in waiting if key not in layers]
    return layers


def _paths(edges: Sequence[Edge], layers: Mapping[str, int]) -> Mapping[Edge, Sequence[_Point]]:
    """The points of each edge: its source, its crossings of layers, its target."""
    return {
        edge: [
            _Point(edge.source, layers[edge.source]),
            *(_Point(f"{edge}", n) for n in range(layers[edge.source] + 1, layers[edge.target])),
            _Point(edge.target, layers[edge.target]),
        ]
        for edge in edges
    }


def _rows(layers: Mapping[str, int], paths: Mapping[Edge, Sequence[_Point]]) -> Sequence[Sequence[_Point]]:
    """The points of each layer, ordered so that connected points are near each other."""
    rows: list[list[_Point]] = [[] for _ in range(max(layers.values(), default=-1) + 1)]
    for key, layer in layers.items():
        rows[layer].append(_Point(key, layer))
    connected: dict[_Point, list[_Point]] = defaultdict(list)
    for path in paths.values():
        for point in path[1:-1]:
            rows[point.layer].append(point)
        for upper, lower in pairwise(path):
            connected[upper].append(lower)
            connected[lower].append(upper)
    for sweep in range(_SWEEPS):
        order = [*range(1, len(rows))] if sweep % 2 == 0 else [*range(len(rows) - 2, -1, -1)]
        for number in order:
            fixed = rows[number - 1 if sweep % 2 == 0 else number + 1]
            rows[number] = _sorted_row(rows[number], fixed, connected)
    return rows


def _sorted_row(
    row: Sequence[_Point], fixed: Sequence[_Point], connected: Mapping[_Point, list[_Point]]
) -> list[_Point]:
    """A row, sorted by the mean rank of the connected points in the fixed row."""
    fixed_ranks = {point: rank / len(fixed) for rank, point in enumerate(fixed)}
    means: dict[_Point, float] = {}
    for rank, point in enumerate(row):
        ranks = [fixed_ranks[other] for other in connected[point] if other in fixed_ranks]
        means[point] = sum(ranks) / len(ranks) if ranks else rank / len(row)
    return sorted(row, key=means.__getitem__)


def _centres(rows: Sequence[Sequence[_Point]], widths: Mapping[str, float]) -> Mapping[_Point, tuple[float, float]]:
    """The coordinates of the centre of each point; each layer is centred."""
    spans = [sum(widths.get(point.name, 0.0) + _GAP for point in row) - _GAP for row in rows]
    found: dict[_Point, tuple[float, float]] = {}
    for number, (row, span) in enumerate(zip(rows, spans, strict=True)):
        x = _MARGIN + (max(spans) - span) / 2
        for point in row:
            width = widths.get(point.name, 0.0)
            found[point] = (x + width / 2, _MARGIN + _HEIGHT / 2 + number * (_HEIGHT + _BETWEEN))
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


def _arrow(edge: Edge, centres: Sequence[tuple[float, float]]) -> str:
    """A curve from the bottom of one box to the top of another; vertical where it crosses a layer."""
    x, y = centres[0]
    y += _HEIGHT / 2
    path = f"M{x:.1f} {y:.1f}"
    for to_x, centre in centres[1:]:
        to_y = centre - _HEIGHT / 2
        half = (y + to_y) / 2
        path += f" C{x:.1f} {half:.1f} {to_x:.1f} {half:.1f} {to_x:.1f} {to_y:.1f} V{centre + _HEIGHT / 2:.1f}"
        x, y = to_x, centre + _HEIGHT / 2
    path = path.rpartition(" ")[0]  # the last curve ends at the top of the box
    y -= _HEIGHT
    dashes = ' stroke-dasharray="4 3"' if edge.kind == CHILD else ""
    label = f'<text x="{x + 26:.1f}" y="{y - 8:.1f}" fill="#777">{FAILURE}</text>' if edge.kind == FAILURE else ""
    return (
        f'<path d="{path}" fill="none" stroke="#888" stroke-width="1.3"{dashes}/>'
        f'<path d="M{x - 4:.1f} {y - 8:.1f} h8 l-4 8 z" fill="#888"/>{label}'
    )
