"""A point of a sweep that runs a tool: its run directory, and its stages in their order."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from slurm.tools import Stage, Tool
from slurm.tools.point import prepare
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


def test_a_point_writes_files_that_nobody_changes_by_mistake_and_the_manifest_says_what_they_are(
    tmp_path: Path,
) -> None:
    data = {"files": {"scripts/run.sh": "true\n"}, "ranks": False, "config": None, "spans": {}}
    prepare({**data, "manifest": {"overrides": {"a": 1, "b": 1}, "files": {"given": "d1"}}}, f"{tmp_path}/run", b=2)
    paths = [tmp_path / "run" / name for name in ("scripts/run.sh", "manifest.json")]
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o444, 0o444]
    manifest = json.loads(paths[1].read_text())
    assert manifest["overrides"] == {"a": 1, "b": 2}
    assert manifest["files"] == {"given": "d1", "scripts/run.sh": hashlib.sha256(b"true\n").hexdigest()}
    with pytest.raises(FileExistsError):
        prepare({**data, "manifest": {"overrides": {}, "files": {}}}, f"{tmp_path}/run")
