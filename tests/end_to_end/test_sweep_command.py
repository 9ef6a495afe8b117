"""`slurm sweep`: from a file to the table, on one cluster and completed on another; and what is wrong is told."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from slurm.cli.main import slurm

if TYPE_CHECKING:
    from slurm import Cluster

FILE = """\
sweep:
  grid: {lr: [1e-3, 1e-2], model: {depth: [2, 3]}}
task: study_of_depths.py:train
"""
TRAIN = """\
def train(lr: float, model: dict) -> dict:
    if model["depth"] == 3 and lr > 0.005:
        raise ValueError(f"diverged after {int(lr * 10000)} steps")
    return {"loss": lr * model["depth"]}
"""
REPAIRED = TRAIN.replace("> 0.005", "> 5")


def sweep(*argv: str, status: int = 0) -> Result:
    """Run `slurm sweep` in this process."""
    sys.modules.pop("study_of_depths", None)  # as a new process
    found = CliRunner().invoke(slurm, ["sweep", *argv])
    assert found.exit_code == status, found.output + repr(found.exception)
    return found


def read(*argv: str) -> Any:
    return json.loads(sweep(*argv, "--json").stdout)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a sweep of four points, one of which fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("depths.yaml").write_text(FILE)
    Path("study_of_depths.py").write_text(TRAIN)
    return tmp_path


def tree(directory: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.rglob("*") if path.is_file()}


def test_a_file_is_run_looked_at_and_completed_elsewhere(cluster: Cluster, study: Path, root: Path) -> None:
    first = sweep("run", "depths.yaml", "--on", f"{cluster.url}:2", status=1)
    assert "slurm sweep complete depths --failed, with --file depths.yaml if" in first.stderr
    assert Path("sweeps/outputs/depths/sweep_config.yaml").read_text() == FILE
    before = tree(study / "sweeps")
    assert read("status", "depths")[0]["counts"] == {"done": 3, "failed": 1}
    (group,) = read("errors", "depths")
    assert (group["pattern"], group["points"]) == ("ValueError: diverged after # steps", [3])
    assert group["where"] == "train (study_of_depths.py)"
    rows = read("table", "depths", "--sort", "loss")
    assert [row["loss"] for row in rows] == [0.002, 0.003, 0.02, None]
    assert rows[0]["model.depth"] == 2
    assert read("table", "depths", "--where", "lr < 0.005 and state == 'done'", "--best", "loss")[0]["point"] == 0
    assert read("recent", "depths", "--limit", "2")[0]["state"] in ("done", "failed")
    assert "diverged after 100 steps" in sweep("why", "depths", "3").output
    assert "ValueError: diverged after 100 steps" in sweep("logs", "depths", "3").output
    assert read("fetch", "depths", "0") == []
    assert "no point 9: the sweep has 4" in str(sweep("logs", "depths", "9", status=1).exception)
    assert "4 points: 3 done, 1 failed" in sweep("watch", "depths").output
    assert tree(study / "sweeps") == before  # who looks writes nothing
    sweep("table", "depths", "--to", "depths.csv")
    assert Path("depths.csv").read_text().startswith("lr,model.depth,loss,point,state")
    Path("study_of_depths.py").write_text(REPAIRED)
    elsewhere = f"local://{root.parent / 'elsewhere'}"
    sweep("complete", "depths", "--failed", "--file", "depths.yaml", "--on", elsewhere)
    assert read("status", "depths")[0]["counts"] == {"done": 4}
    assert {row["source"] for row in read("table", "depths")} == {cluster.url, elsewhere}


def test_a_sweep_is_extended_planned_and_run_again(local: Cluster, study: Path) -> None:
    assert sweep("run", "depths.yaml", "--count-only").output == "4\n"
    planned = sweep("run", "depths.yaml", "--on", local.url, "--dry-run")
    assert planned.stdout.startswith("4 points\nsource ")
    assert "#!/bin/" not in planned.stdout
    assert planned.stderr == "nothing was submitted; --script also shows the scripts\n"
    assert "#!/bin/" in sweep("run", "depths.yaml", "--on", local.url, "--dry-run", "--script").stdout
    facts = read("run", "depths.yaml", "--on", local.url, "--dry-run")
    assert (facts["points"], facts["sources"][0]["points"]) == (4, 4)
    assert facts["sources"][0]["script"].startswith("#!/bin/")
    assert "--script goes with --dry-run" in sweep("run", "depths.yaml", "--script", status=2).output
    assert not Path("sweeps").exists()
    Path("study_of_depths.py").write_text(REPAIRED)
    sweep("run", "depths.yaml", "--on", local.url)
    Path("more.yaml").write_text(FILE.replace("[2, 3]", "[2, 3, 4]"))
    assert read("extend", "depths", "more.yaml") == {"name": "depths", "added": 2, "points": 6}
    assert sweep("run", "more.yaml", "--name", "depths", "--on", local.url).output.startswith(
        "depths: 6 points: 6 done"
    )
    assert len(list(Path("sweeps/outputs/depths/shards").iterdir())) == 2
    assert read("collect", "depths") == {"name": "depths", "collected": 0}
    assert read("cancel", "depths") == {"name": "depths", "cancelled": 0}
    assert len(read("cleanup", "depths")["removable"]) == 2


def test_what_is_wrong_with_a_file_is_told_before_anything_is_written(local: Cluster, study: Path) -> None:
    Path("study_of_depths.py").write_text(TRAIN.replace("lr: float", "rate: float"))
    assert "lr, model.depth do not fit" in str(sweep("validate", "depths.yaml", status=1).exception)
    Path("depths.yaml").write_text(FILE.replace("grid:", "grd:"))
    assert "line 2: sweep.grd: unknown key: did you mean 'grid'?" in str(
        sweep("run", "depths.yaml", status=1).exception
    )
    assert "there is no sweep 'depths'" in str(sweep("status", "depths", status=1).exception)
    assert "leave out --detach" in sweep("run", "depths.yaml", "--chunk", "auto", "--detach", status=2).output
    assert not Path("sweeps").exists()


def test_a_written_file_is_valid_and_never_written_over(local: Cluster, study: Path) -> None:
    Path("study_of_depths.py").write_text("def train(lr: float, depth: int): ...\n")
    sweep("init", "new.yaml", "--task", "study_of_depths.py:train")
    assert sweep("validate", "new.yaml").output == "new.yaml is valid: 4 points of lr, depth\n"
    before = Path("new.yaml").read_text()
    assert "exists and is not changed" in str(sweep("init", "new.yaml", status=1).exception)
    assert Path("new.yaml").read_text() == before
