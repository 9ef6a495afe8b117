"""Drawings of graphs: Mermaid, DOT and SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import combinations

from slurm.protocol.states import JobState
from slurm.views.graph import Graph
from slurm.views.graph_text import Edge, Node

DONE, FAILED, RUNNING, PENDING = JobState.COMPLETED, JobState.FAILED, JobState.RUNNING, JobState.PENDING

DIAMOND = Graph(
    (
        Node("flow/1", "flow", 1, {RUNNING: 1}, workflow=True),
        Node("load/2", "load", 1, {DONE: 1}),
        Node("fit/3", "fit", 1000, {DONE: 997, RUNNING: 3}),
        Node("check/4", "check", 1, {FAILED: 1}),
        Node("tell/5", 'tell "<x>"', 1, {PENDING: 1}),
    ),
    (
        *(Edge("flow/1", key, "child") for key in ("load/2", "fit/3", "check/4", "tell/5")),
        Edge("load/2", "fit/3", "success"),
        Edge("load/2", "check/4", "success"),
        Edge("check/4", "tell/5", "failure"),
        Edge("fit/3", "tell/5", "any"),
    ),
)


def test_mermaid_links_a_workflow_only_to_children_without_upstreams_in_it() -> None:
    lines = [line.strip() for line in DIAMOND.mermaid().splitlines() if " style " not in line]
    assert lines == [
        "flowchart TD",
        'n0["flow<br/>RUNNING"]',
        'n1["load<br/>COMPLETED"]',
        'n2["fit × 1000<br/>3 RUNNING, 997 COMPLETED"]',
        'n3["check<br/>FAILED"]',
        'n4["tell #quot;#lt;x#gt;#quot;<br/>PENDING"]',
        "n0 -.-> n1",
        "n1 --> n2",
        "n1 --> n3",
        "n3 -->|failure| n4",
        "n2 --> n4",
    ]


def test_text_has_a_line_for_each_box_with_children_below_their_workflow() -> None:
    assert DIAMOND.text().splitlines() == [
        "flow/1 flow: RUNNING",
        "├─ load/2 load: COMPLETED",
        "├─ fit/3 fit × 1000: 3 RUNNING, 997 COMPLETED, after load/2",
        "├─ check/4 check: FAILED, after load/2",
        '└─ tell/5 tell "<x>": PENDING, after check/4 fails, fit/3 ends',
    ]
    nested = Graph(
        (Node("a/0-1", "a", 1, {DONE: 1}), Node("b/0-2", "b", 1, {DONE: 1}), Node("c/0-3", "c", 1, {DONE: 1})),
        (Edge("a/0-1", "b/0-2", "child"), Edge("b/0-2", "c/0-3", "child")),
    )
    assert nested.text() == "1 a: COMPLETED\n└─ 2 b: COMPLETED\n   └─ 3 c: COMPLETED\n"


def test_dot_escapes_labels_and_draws_every_edge() -> None:
    text = DIAMOND.dot()
    assert text.startswith("digraph {\n")
    assert r'n4 [label="tell \"<x>\"\nPENDING"' in text
    assert text.endswith(
        "n0 -> n1 [style=dashed];\n    n1 -> n2;\n    n1 -> n3;\n    n3 -> n4 [label=failure];\n    n2 -> n4;\n}\n"
    )


def test_svg_is_self_contained_with_separate_boxes_below_their_sources() -> None:
    text = DIAMOND._repr_svg_()
    root = ET.fromstring(text)  # noqa: S314 - made right here
    space = "{http://www.w3.org/2000/svg}"
    assert not re.search(r"href|url\(|<script|@import", text)
    boxes = {}
    for group in root.iter(f"{space}g"):
        title, box, *_ = group
        x, y, width, height = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + width <= float(root.attrib["width"])
        assert 0 <= y <= y + height <= float(root.attrib["height"])
        boxes[title.text] = (x, y, x + width, y + height)
    assert boxes.keys() == {node.key for node in DIAMOND.nodes}
    for one, other in combinations(boxes.values(), 2):
        assert one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
    assert all(boxes[edge.source][3] < boxes[edge.target][1] for edge in DIAMOND.edges)


def test_more_than_eight_similar_calls_share_one_box() -> None:
    calls = [Node(f"f/{n}", "f", 1, {DONE if n else FAILED: 1}) for n in range(9)]
    edges = [Edge(node.key, "sum/1", "success") for node in calls]
    for count, boxes in ((9, 2), (8, 9)):
        graph = Graph((*calls[:count], Node("sum/1", "sum", 1, {})), tuple(edges[:count]))
        assert len(re.findall(r"^ *n\d+\[", graph.mermaid(), re.MULTILINE)) == boxes
    assert (
        'n0["f × 9<br/>8 COMPLETED, 1 FAILED"]' in Graph((*calls, Node("sum/1", "sum", 1, {})), tuple(edges)).mermaid()
    )


def test_node_has_one_state_for_all_its_calls() -> None:
    expected = {
        (DONE,): DONE,
        (DONE, FAILED, RUNNING): FAILED,
        (DONE, PENDING): RUNNING,
        (RUNNING, PENDING): RUNNING,
        (PENDING,): PENDING,
        (): JobState.UNKNOWN,
    }
    assert {states: Node("f/1", "f", 3, dict.fromkeys(states, 1)).state for states in expected} == expected


def test_empty_graph_can_be_drawn() -> None:
    empty = Graph((), ())
    assert ET.fromstring(empty.svg()).tag.endswith("svg")  # noqa: S314 - made right here
    assert empty.mermaid() == "flowchart TD\n"
    assert empty.dot().endswith(";\n}\n")
