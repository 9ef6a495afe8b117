"""Git repositories of tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def git(repository: Path, *words: str) -> str:
    """Run git in a repository."""
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    user = ["-c", "user.name=ann", "-c", "user.email=ann@example.org"]
    argv = ["git", *user, "-C", str(repository), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=environ).stdout.strip()


def commit(repository: Path) -> str:
    """Commit everything, and return the commit."""
    git(repository, "add", "-A")
    git(repository, "commit", "--quiet", "-m", "change")
    return git(repository, "rev-parse", "HEAD")
