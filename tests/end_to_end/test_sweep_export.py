"""The tree of an export is the same from every source, and each file that it names is there and full."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from slurm import Cluster, command
from slurm.sweeps import Sweep, grid
from slurm.sweeps.reports import export as exporting

WORK = command(
    "sh -c 'echo out {x}; echo err {x} >&2; echo {x} > a.txt; mkdir d; echo {x} > d/b.txt; "
    'echo {{\\"loss\\": {x}}} > metrics.json; [ {x} != 2 ] || exit 3\'',
    products=["*.txt"],
    time="5",
    separate_stderr=True,
    setup="export LEVEL=3",
)
DIFFERS = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:]+\+00:00|(?<=host: ).*|(?<=job_id: ).*|(?<=duration_seconds: ).*|"
    r"(?<=peak_memory_bytes: ).*|/[^']*(?=/work/)"
)
"""Times, hosts, ids, costs and the directories of jobs."""


def tree(directory: Path, source: str) -> dict[str, str]:
    """The files of a tree and their texts, without what may differ between sources."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = re.sub("(?<=sources/).*", "SOURCE", str(path.relative_to(directory)))
        if path.is_file() and not name.startswith(("reports", "scripts", "logs/sources", "logs/engine.log")):
            found[name] = DIFFERS.sub("…", path.read_text()).replace(source, "SOURCE")
        elif path.is_file():
            assert path.stat().st_size, name
            found[name] = "full"
    return found


@pytest.fixture(scope="module")
def expected() -> dict[str, dict[str, str]]:
    """The first tree, which the others are compared with."""
    return {}


def test_the_tree_is_the_same_from_every_source(
    cluster: Cluster, tmp_path: Path, expected: dict[str, dict[str, str]]
) -> None:
    made = Sweep(WORK, grid(x=[1, 2, 3]), name="sweep", directory=tmp_path)
    with cluster:
        made.run()
    made.drive()
    assert made.export(tmp_path / "tree") == []
    (source,) = made.status().sources
    found = tree(tmp_path / "tree", source)
    assert found["tasks/task_003/stdout.log"].endswith("out 3\n")
    assert found["tasks/task_003/stderr.log"].endswith("err 3\n")
    assert found["tasks/task_003/results/d/b.txt"] == "3\n"
    assert '"loss": 3' in found["tasks/task_003/metrics.json"]
    assert yaml.safe_load(found["tasks/task_002/status.yaml"])["exit_code"] == 3
    assert found["scripts/job_scripts/shard_001.sh"] == "full"
    setup = (tmp_path / "tree" / "scripts" / "setup_scripts" / "shard_001.sh").read_text()
    assert setup.startswith("#!/bin/bash\n")
    assert setup.endswith("export LEVEL=3\n")
    mapping = yaml.safe_load(found["task_mapping.yaml"])
    assert [each["directory"] for each in mapping.values()] == [f"tasks/task_00{n}" for n in (1, 2, 3)]
    assert expected.setdefault("tree", found) == found


def test_an_export_replaces_the_one_before(local: Cluster, tmp_path: Path) -> None:
    made = Sweep(WORK, grid(x=[1]), name="sweep", directory=tmp_path)
    with local:
        made.run()
    made.drive()
    made.export()
    stale = made.directory.path / "tasks" / "task_009"
    stale.mkdir()
    made.export()
    assert not stale.exists()
    assert (made.directory.path / "tasks" / "task_001").is_dir()
    assert not list(made.directory.path.glob(".export*"))
    assert Sweep.open("sweep", directory=tmp_path).status().total == 1


def test_of_many_points_those_that_failed_or_left_files_have_a_directory(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "MOST_TASKS", 2)
    plain = command("sh -c '[ {x} != 2 ] || exit 3'", time="5")
    made = Sweep(plain, grid(x=[1, 2, 3]), name="sweep", directory=tmp_path)
    with local:
        made.run()
    made.drive()
    made.export()

    def names() -> list[str]:
        return sorted(path.name for path in (made.directory.path / "tasks").iterdir())

    assert names() == ["task_002"]
    mapping: dict[str, Any] = yaml.safe_load((made.directory.path / "task_mapping.yaml").read_text())
    assert ["directory" in each for each in mapping.values()] == [False, True, False]
    made.export(all=True)
    assert names() == ["task_001", "task_002", "task_003"]
