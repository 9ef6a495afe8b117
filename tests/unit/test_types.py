"""Type checkers infer the results of calls in a user's program and report wrong calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
EXAMPLES = Path(__file__).with_name("typing_examples.py")


def mypy(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run mypy with the project's own settings."""
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--strict", *argv]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_mypy_infers_and_objects_as_the_examples_say() -> None:
    done = mypy(str(EXAMPLES))
    assert (done.returncode, done.stdout) == (0, "Success: no issues found in 1 source file\n"), done.stdout
