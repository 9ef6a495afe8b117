"""Fixtures of the fault tests: a cluster that a test may break, and traces of what ran on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from testbed import SlurmTestbed

Start = Callable[..., SlurmTestbed]


@pytest.fixture
def start(new_testbed: Start, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start a cluster of this test's own, and make it the one that commands here talk to."""

    def begin(**arguments: object) -> SlurmTestbed:
        testbed = new_testbed(**arguments)
        for name, value in testbed.env.items():
            monkeypatch.setenv(name, value)
        return testbed

    return begin


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A directory in which every run of a task leaves a file: what ran how often."""
    directory = tmp_path / "trace"
    directory.mkdir()
    return directory
