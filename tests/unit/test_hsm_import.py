"""Files of HPC Sweep Manager, as it writes them, are read, and become a sweep and a Slurmfile."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from slurm import slurmfile
from slurm.cli.main import slurm
from slurm.sweeps.config import SweepConfig, SweepConfigError

if TYPE_CHECKING:
    from slurm import Cluster

SWEEP = """\
defaults:
- override hydra/launcher: basic
metadata:
  description: Hyperparameter sweep
  tags: [auto-generated, baseline]
sweep:
  grid:
    seed: [1, 2, 3]
    optimizer.lr: [0.001, 1e-2]
  paired:
  - model:
      width: [64, 128]
      depth: [2, 4]
"""
AT_THE_TOP = """\
grid:
  seed: [1, 2]
paired:
- model:
    width: [64, 128]
    depth: [2, 4]
"""
PARAMETERS = """\
metadata:
  tags:
  - baseline
parameters:
  batch_size:
    values:
    - 32
    - 64
  lr:
    values: [0.1]
strategy: grid
"""
CONFIG = """\
compute:
  default_timeout: 90
  health_check_interval: 300
  max_concurrent_local: 4
  max_concurrent_remote: 10
  retry_attempts: 3
experiment_tracking:
  wandb_enabled: true
  wandb_project: null
hpc:
  default_queue: long
  default_resources: select=1:ncpus=4:mem=64gb:ngpus=1:place=scatter
  default_walltime: '23:59:59'
  max_array_size: null
  module_commands: [module load gcc/12 cuda, ulimit -n 4096]
  system: slurm
paths:
  conda_env: null
  project_root: /home/ann/mlp
  python_interpreter: /opt/bin/python
  training_script: main file.py
pathes: {a: 1}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "sweep.yaml").write_text(SWEEP)
    (tmp_path / "hsm_config.yaml").write_text(CONFIG)
    return tmp_path


def imported(path: Path, *options: str) -> Result:
    return CliRunner().invoke(slurm, ["sweep", "import", str(path), *options])


@pytest.mark.parametrize(
    ("text", "count", "names"),
    [
        (SWEEP, 12, ("seed", "optimizer.lr", "width", "depth")),
        (AT_THE_TOP, 4, ("seed", "width", "depth")),
        (PARAMETERS, 2, ("batch_size", "lr")),
    ],
)
def test_each_form_of_a_sweep_is_read(text: str, count: int, names: tuple[str, ...]) -> None:
    space = SweepConfig.loads(text).space
    assert (len(list(space)), tuple(space.names)) == (count, names)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("grid:\n  lr: 1\nparied: []\n", ["line 2: sweep.grid.lr: ", "line 3: paried: "]),
        (
            "parameters:\n  lr:\n    distribution: uniform\n    min: 0\nstrategy: grid\n",
            ["line 3: sweep.grid.lr.distribution: ", "line 4: sweep.grid.lr.min: "],
        ),
        ("parameters:\n  lr: {values: [1]}\nstrategy: bayes\n", ["line 1: parameters: ", "line 3: strategy: "]),
    ],
)
def test_problems_are_told_with_the_lines_of_the_file(text: str, problems: list[str]) -> None:
    with pytest.raises(SweepConfigError) as caught:
        SweepConfig.loads(text)
    for problem in problems:
        assert any(line.startswith(problem) for line in caught.value.problems), caught.value


def test_a_project_becomes_a_sweep_and_a_slurmfile(project: Path) -> None:
    to = project / "ours"
    made = imported(project, "--output", str(to))
    assert made.exit_code == 0, made.output
    config = SweepConfig.load(to / "sweep.yaml")
    assert len(list(config.space)) == 12
    assert config.command == "/opt/bin/python '/home/ann/mlp/main file.py' {overrides}"
    assert config.options == {"retry": 3}
    assert config.metadata["tags"] == ["auto-generated", "baseline"]
    site = slurmfile.load("hpc", to / "Slurmfile")
    assert site.url == "slurm"
    assert dict(site.options.to_json()) == {
        "time": "23:59:59",
        "partition": "long",
        "nodes": "1",
        "cpus_per_task": "4",
        "mem": "64G",
        "gpus": "1",
    }
    assert slurmfile.load("local", to / "Slurmfile").options.to_json()["time"] == "2"


def test_resources_may_be_options_of_slurm_with_colons(project: Path) -> None:
    config = project / "hsm_config.yaml"
    old = "default_resources: select=1:ncpus=4:mem=64gb:ngpus=1:place=scatter"
    new = "default_resources: --nodes=2 --gres=gpu:a100:4 --mem=500m --ntasks-per-node=8"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))
    made = imported(project, "--output", str(project / "ours"))
    assert made.exit_code == 0, made.output
    options = slurmfile.load("hpc", project / "ours" / "Slurmfile").options.to_json()
    found = {name: options.get(name) for name in ("nodes", "gres", "mem", "ntasks_per_node")}
    assert found == {"nodes": "2", "gres": "gpu:a100:4", "mem": "500M", "ntasks_per_node": "8"}


def test_what_has_no_counterpart_is_named_with_line_and_key(project: Path) -> None:
    shown = imported(project, "--dry-run", "--json")
    assert shown.exit_code == 0, shown.output
    notes = json.loads(shown.stdout)["notes"]
    expected = [
        "line 12: hpc.default_resources: place=scatter",
        "line 19: paths.project_root: ",
        "line 3: compute.health_check_interval: ",
        "line 8: experiment_tracking.wandb_enabled: ",
        "line 22: pathes: unknown section",
        "--on local:4 --on hpc:10",
        "defaults: ",
    ]
    for part in expected:
        assert any(part in note for note in notes), (part, notes)
    assert len(notes) == len(expected)


def test_existing_files_are_not_changed_and_a_dry_run_writes_nothing(project: Path) -> None:
    before = sorted(project.rglob("*"))
    assert imported(project, "--output", str(project), "--dry-run").exit_code == 0
    assert sorted(project.rglob("*")) == before
    (project / "Slurmfile").write_text("mine")
    refused = imported(project, "--output", str(project))
    assert refused.exit_code != 0
    assert "Slurmfile" in str(refused.exception or refused.output)
    assert not (project / "sweep.yaml").exists()


def test_a_directory_without_files_of_the_manager_is_an_error(tmp_path: Path) -> None:
    assert "hsm_config.yaml" in str(imported(tmp_path).exception)


def sweep_command(*words: str) -> Result:
    return CliRunner().invoke(slurm, ["sweep", *words])


def test_an_unchanged_sweep_runs_the_script_of_its_project(
    tmp_path: Path, local: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweeps").mkdir()
    Path("sweeps/sweep.yaml").write_text("sweep:\n  grid:\n    seed: [1, 2]\n")
    Path("hsm_config.yaml").write_text(f"paths: {{python_interpreter: {sys.executable}, training_script: train.py}}\n")
    Path("train.py").write_text("import sys\nprint('trained with', *sys.argv[1:])\n")
    valid = sweep_command("validate", "sweeps/sweep.yaml")
    command = f"{sys.executable} {tmp_path}/train.py {{overrides}}"
    assert f"note: sweeps/sweep.yaml: its script is that of {tmp_path}/hsm_config.yaml" in valid.output
    assert f"it has command: {command}. Clusters" in valid.output
    ran = sweep_command("run", "sweeps/sweep.yaml", "--on", local.url)
    assert ran.exit_code == 0, ran.output
    shown = sweep_command("status", "sweep", "--json")
    assert json.loads(shown.stdout)[0]["counts"] == {"done": 2}
    assert "trained with seed=2" in sweep_command("logs", "sweep", "1").stdout
    assert SweepConfig.load("sweeps/outputs/sweep/sweep_config.yaml").command == command


def test_a_sweep_that_names_nothing_to_run_says_what_to_add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text(SWEEP)
    assert "paths: {training_script: …} into an hsm_config.yaml" in sweep_command("run", "--dry-run").output
    Path("hsm_config.yaml").write_text("paths: {training_script: null}\n")
    refused = sweep_command("run", "--dry-run")
    assert (refused.exit_code, "hsm_config.yaml names no script for sweep.yaml" in refused.output) == (2, True)
    assert sweep_command("run", "--count-only").output.endswith("\n12\n")
    Path("sweep.yaml").write_text(f"{SWEEP}command: echo {{overrides}}\n")
    Path("hsm_config.yaml").write_text("paths: [")
    assert sweep_command("validate").stdout.startswith("sweep.yaml is valid: 12 points")  # the other file is not read
