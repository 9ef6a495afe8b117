"""`slurm graph`: the jobs of a workflow, as text and in other forms."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from click.testing import CliRunner, Result

from slurm import Cluster, task, workflow
from slurm.cli.main import slurm

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


@task
def double(x: int) -> int:
    return 2 * x


@workflow
def both(x: int) -> int:
    return double(double(x)).result()


def graph(*argv: str) -> Result:
    return CliRunner().invoke(slurm, ["graph", *argv])


def test_a_workflow_in_each_form(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = both(1)
    assert job.result(100) == 4
    shown = graph(job.key, "--on", cluster.url)
    first, second = (child.key.rpartition("-")[2] for child in job.children())
    assert shown.output.splitlines() == [
        f"{job.key.rpartition('-')[2]} both: COMPLETED",
        f"├─ {first} double: COMPLETED",
        f"└─ {second} double: COMPLETED, after {first}",
    ]
    data = json.loads(graph(job.key, "--format", "json", "--on", cluster.url).output)
    assert [node["task"] for node in data["nodes"]] == ["both", "double", "double"]
    assert data["nodes"][0] == {
        "key": job.key, "task": "both", "count": 1, "states": {"COMPLETED": 1}, "workflow": True
    }  # fmt: skip
    assert {edge["kind"] for edge in data["edges"]} == {"child", "success"}
    for name, begin in [
        ("a.svg", "<svg "),
        ("a.mmd", "flowchart TD"),
        ("a.dot", "digraph {"),
        ("a.txt", "[0-9a-f]{8} both"),
    ]:
        done = graph(job.key, "-o", name, "--on", cluster.url)
        assert (done.exit_code, done.output) == (0, "")
        assert re.match(begin, (tmp_path / name).read_text())
    assert graph(job.key, "-o", "a.svg", "--format", "dot", "--on", cluster.url).exit_code == 0
    assert (tmp_path / "a.svg").read_text().startswith("digraph")
    failed = graph(job.key, "-o", "no/such.svg", "--on", cluster.url)
    assert (failed.exit_code, failed.output) == (1, "Error: no/such.svg cannot be written: No such file or directory\n")
