"""Fixtures of the fault tests: a cluster that a test may break, and traces of what ran on it."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed import SlurmTestbed
from testbed.programs import find_program

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


@pytest.fixture
def account() -> Iterator[Callable[..., pwd.struct_passwd]]:
    """Give a function that makes an account with a login shell, an rc file, and a password (hashed); as root only."""
    if os.geteuid() != 0:
        pytest.skip("only root can make accounts with other login shells")
    made: list[str] = []

    def make(shell: str, rc: str = "", *, password: str | None = None) -> pwd.struct_passwd:
        path = find_program(shell)
        if path is None:
            pytest.skip(f"{shell} is not installed")
        name = f"slurmtest-{shell}-{os.getpid()}"
        subprocess.run(["useradd", "--create-home", "--shell", path, "--password", password or "*", name], check=True)
        made.append(name)
        found = pwd.getpwnam(name)
        home = Path(found.pw_dir)
        for file in {"fish": [".config/fish/config.fish"], "tcsh": [".cshrc"]}.get(shell, [".bashrc", ".profile"]):
            (home / file).parent.mkdir(parents=True, exist_ok=True)
            (home / file).write_text(rc)
        subprocess.run(["chown", "-R", name, str(home)], check=True)
        return found

    yield make
    for name in made:
        subprocess.run(["userdel", "--remove", "--force", name], check=True, capture_output=True)
