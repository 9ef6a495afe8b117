"""The launcher for Hydra: Hydra's own suites for launchers, and what a sweep adds to a multirun."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.extra.pytest_plugin import hydra_restore_singletons, hydra_sweep_runner
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)

from hydra_plugins.slurm_launcher._overrides import overrides_of, params_of

__all__ = ["hydra_restore_singletons", "hydra_sweep_runner"]  # fixtures

PROGRAM = """
import hydra

@hydra.main(version_base=None, config_path=".", config_name="config")
def app(cfg):
    with open("{begun}", "a") as file:
        file.write(f"{{cfg.x}}\\n")
    if cfg.x == 13:
        raise ValueError("unlucky")
    return cfg.x / 2

if __name__ == "__main__":
    app()
"""


def options(tmp_path: Path, cluster: str = "local") -> list[str]:
    return [f"hydra.launcher.on='{cluster}://{tmp_path}/jobs'", f"hydra.launcher.directory={tmp_path}/sweeps"]


@pytest.mark.parametrize("launcher_name", ["slurm"])
class TestLauncher(LauncherTestSuite):
    @pytest.fixture
    def overrides(self, tmp_path: Path) -> list[str]:
        return options(tmp_path)


@pytest.mark.parametrize("launcher_name", ["slurm"])
class TestBatches(BatchedSweeperTestSuite):
    @pytest.fixture
    def overrides(self, tmp_path: Path) -> list[str]:
        return [*options(tmp_path), "hydra.sweeper.max_batch_size=2"]


@pytest.mark.parametrize("task_launcher_cfg", [{}])
class TestPrograms(IntegrationTestSuite):
    @pytest.fixture
    def extra_flags(self, tmp_path: Path) -> list[str]:
        return ["-m", "hydra/launcher=slurm", *options(tmp_path)]


def test_an_override_that_does_not_fit_is_an_error_before_anything_is_submitted(local: Cluster, study: Path) -> None:
    said = multirun(local, "z=1,2", status=1)
    assert "Could not override 'z'" in said
    assert not (study / "sweeps").exists()


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
