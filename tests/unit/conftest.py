"""Settings of the property tests: no clock decides, nothing is left in the working directory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

settings.register_profile(
    "unit",
    deadline=None,
    database=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("unit")


def pytest_configure(config: pytest.Config) -> None:
    """Keep Hypothesis' tables of characters and constants in pytest's cache: each process would compute them again."""
    if config.pluginmanager.hasplugin("cacheprovider"):
        set_hypothesis_home_dir(Path(config.rootpath, str(config.getini("cache_dir")), "hypothesis"))


MEMORY = "/dev/shm"  # noqa: S108 - a directory of the system


def in_memory() -> str | None:
    """A file system in memory, where fsync takes no time; None if there is none that programs can be started from."""
    usable = os.access(MEMORY, os.W_OK) and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    return MEMORY if usable else None


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory of the test's own: on no disk, if possible, because the protocol writes with fsync."""
    parent = tempfile.mkdtemp(prefix="slurm-tests-", dir=in_memory())
    directory = Path(parent, "test")  # its parent is private too, as the runner's must be
    directory.mkdir(mode=0o700)
    yield directory
    shutil.rmtree(parent, ignore_errors=True)
