"""The launcher for Hydra: Hydra's own suites for launchers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.extra.pytest_plugin import hydra_restore_singletons, hydra_sweep_runner
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)

__all__ = ["hydra_restore_singletons", "hydra_sweep_runner"]  # fixtures


def options(tmp_path: Path, cluster: str = "local") -> list[str]:
    return [f"hydra.launcher.clusters='{cluster}://{tmp_path}/jobs'", f"hydra.launcher.directory={tmp_path}/sweeps"]


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
