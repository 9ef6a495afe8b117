"""Which stages of a tool a point of a sweep runs, and in which order."""

from __future__ import annotations

import pytest

from slurm.tools import Stage, Tool
from slurm.tools.point_stages import chosen


class Imaging(Tool):
    name = "imaging"
    image = Stage("image {calibrate}")
    report = Stage("report {image} {flag}")
    calibrate = Stage("calibrate {clean}")
    clean = Stage("clean")
    flag = Stage("flag {clean}")


@pytest.mark.parametrize(
    ("last", "stages"),
    [
        ("clean", ["clean"]),
        ("flag", ["clean", "flag"]),
        ("image", ["clean", "calibrate", "image"]),
    ],
)
def test_a_point_runs_what_its_last_stage_needs(last: str, stages: list[str]) -> None:
    assert chosen(Imaging, last) == stages


@pytest.mark.parametrize("last", ["report", None])
def test_a_point_runs_all_stages_in_an_order_that_they_allow(last: str | None) -> None:
    order = chosen(Imaging, last)
    assert sorted(order) == ["calibrate", "clean", "flag", "image", "report"]
    assert order.index("clean") < order.index("calibrate") < order.index("image") < order.index("report")
    assert order.index("clean") < order.index("flag") < order.index("report")
