"""Settings of the property tests: no clock decides, nothing is left in the working directory."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

home = tempfile.mkdtemp(prefix="slurm-tests-hypothesis-")
atexit.register(shutil.rmtree, home, ignore_errors=True)
set_hypothesis_home_dir(home)
settings.register_profile(
    "unit",
    deadline=None,
    database=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("unit")

MEMORY = "/dev/shm"  # noqa: S108 - a directory of the system


def in_memory() -> str | None:
    """A file system in memory, where fsync takes no time; None if there is none that programs can be started from."""
    usable = os.access(MEMORY, os.W_OK) and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    return MEMORY if usable else None


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory of the test's own: on no disk, if possible, because the protocol writes with fsync."""
    directory = tempfile.mkdtemp(prefix="slurm-tests-", dir=in_memory())
    yield Path(directory)
    shutil.rmtree(directory, ignore_errors=True)
