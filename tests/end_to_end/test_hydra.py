"""The launcher for Hydra: Hydra's own suites for launchers, and what a sweep adds to a multirun."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hydra.extra.pytest_plugin import hydra_restore_singletons, hydra_sweep_runner
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)

from slurm.sweeps.snapshot import State
from slurm.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from slurm import Cluster

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
