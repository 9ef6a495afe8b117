"""What a sweep adds to a multirun of Hydra."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hydra_plugins.slurm_launcher._overrides import overrides_of, params_of
from slurm import Cluster
from slurm.cli.main import slurm
from slurm.sweeps.snapshot import State
from slurm.sweeps.sweep import Sweep

PROGRAM = """
import hydra

@hydra.main(version_base=None, config_path=".", config_name="config")
def app(cfg):
    with open("begun", "a") as file:
        file.write(f"{cfg.x}\\n")
    if cfg.x == 13:
        raise ValueError("unlucky")
    return cfg.x / 2

if __name__ == "__main__":
    app()
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a program of Hydra."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("x: 1\n")
    Path("app.py").write_text(PROGRAM)
    return tmp_path


def multirun(cluster: Cluster, *overrides: str, status: int = 0) -> str:
    """Run the program with the launcher; returns what it prints."""
    clusters = f"hydra.launcher.clusters='{cluster.url}'"
    argv = [sys.executable, "app.py", "-m", "hydra/launcher=slurm", clusters, "hydra.launcher.name=study", *overrides]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert found.returncode == status, found.stdout + found.stderr
    return found.stdout + found.stderr


def begun(study: Path) -> list[int]:
    return sorted(map(int, (study / "begun").read_text().split()))


def test_a_second_multirun_computes_only_what_is_missing(cluster: Cluster, study: Path) -> None:
    multirun(cluster, "x=1,2", "hydra.sweep.dir=runs")
    multirun(cluster, "x=1,2,3", "hydra.sweep.dir=runs")
    assert begun(study) == [1, 2, 3]
    made = Sweep.open("study")
    assert {point.params["x"]: point.metrics["return_value"] for point in made.points} == {1: 0.5, 2: 1.0, 3: 1.5}
    assert [(study / "runs" / str(n) / ".hydra" / "overrides.yaml").read_text() for n in range(3)] == [
        "- x=1\n",
        "- x=2\n",
        "- x=3\n",
    ]


def test_an_error_of_a_job_appears_as_in_hydra_and_the_job_is_tried_again(local: Cluster, study: Path) -> None:
    said = multirun(local, "x=13,4", status=1)
    assert "Error executing job with overrides: ['x=13']" in said
    assert "ValueError: unlucky" in said
    assert "slurm sweep errors study" in said
    assert Sweep.open("study").snapshot().counts == {State.DONE: 1, State.FAILED: 1}
    text = Path("app.py").read_text()
    Path("app.py").write_text(text.replace("== 13", "== 14"))
    multirun(local, "x=13,4")
    assert begun(study) == [4, 13, 13]


def test_a_multirun_that_does_not_wait_is_completed_by_the_command_line(local: Cluster, study: Path) -> None:
    said = multirun(local, "x=1,2", "hydra.launcher.wait=false")
    assert "slurm sweep watch study" in said
    made = Sweep.open("study")
    assert made.drive().counts == {State.DONE: 2}
    found = CliRunner().invoke(slurm, ["sweep", "status", "study", "--json"])
    assert found.exit_code == 0, found.output
    assert [each["points"] for each in json.loads(found.stdout)] == [2]
    made.extend([{"x": 5}])
    found = CliRunner().invoke(slurm, ["sweep", "complete", "study", "--on", local.url])
    assert found.exit_code == 0, found.output
    assert begun(study) == [1, 2, 5]


@pytest.mark.parametrize(
    ("override", "message"), [("z=1,2", "Could not override 'z'"), ("+hydra.launcher.tyme=5", "tyme")]
)
def test_what_does_not_fit_is_an_error_before_anything_is_submitted(
    local: Cluster, study: Path, override: str, message: str
) -> None:
    assert message in multirun(local, override, status=1)
    assert not (study / "begun").exists()
    assert not list(study.glob("sweeps/outputs/*/shards/*"))


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("x=1e-3", "x", 0.001),
        ("+db@source=mysql", "+db@source", "mysql"),
        ("db.user='a, b'", "db.user", "a, b"),
        ("y=[1,null,{a:true}]", "y", [1, None, {"a": True}]),
        ("~z", "~z", None),
        ("x=nan", "x", "nan"),
    ],
)
def test_overrides_are_parameters_by_their_values(override: str, name: str, value: object) -> None:
    params = params_of([override])
    assert params == {name: value}
    assert params_of(overrides_of(params)) == params
