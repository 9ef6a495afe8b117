"""Other Unix users of this machine, for what one of them may do to another. Only root can make them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cloudpickle
import pytest

import slurm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NEEDS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("useradd") or not shutil.which("setpriv"),
    reason="only root can make other users (useradd, setpriv)",
)


class User:
    """Another user, with a group of the same name, a home, and a Python that has this library."""

    def __init__(self, name: str, place: Path, packages: Path) -> None:
        self.name, self.home = name, place / name
        subprocess.run(["useradd", "--no-create-home", "--user-group", "--home", self.home, name], check=True)
        self.uid = int(subprocess.check_output(["id", "-u", name]))
        self.home.mkdir(mode=0o700)
        os.chown(self.home, self.uid, self.uid)
        self._packages = packages

    def run(self, *argv: str | Path, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command as this user, in the user's home."""
        own = {"HOME": str(self.home), "USER": self.name, "LOGNAME": self.name, "PATH": os.environ["PATH"]}
        own |= {"PYTHONPATH": str(self._packages), "SLURMTASKS_LOCAL_DIR": str(self.home / "local"), **(environ or {})}
        who = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--init-groups"]
        return subprocess.run(
            [*who, *argv], cwd=self.home, env=own, capture_output=True, text=True, timeout=120, check=False
        )

    def python(self, program: str, *argv: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a program of Python's as this user; it stands in a file, where tracebacks find it."""
        file = self.home / f"program-{os.urandom(4).hex()}.py"
        file.write_text(program)
        file.chmod(0o644)
        return self.run(_python(), file, *argv, environ=environ)

    def remove(self) -> None:
        """End what the user runs, and remove the account."""
        for directory in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{directory}").st_uid == self.uid:
                    os.kill(int(directory), 9)
        shutil.rmtree(f"/tmp/slurm-tasks-{self.uid}", ignore_errors=True)  # noqa: S108 - where the library has it
        subprocess.run(["userdel", "--force", self.name], check=False, capture_output=True)


def _python() -> str:
    """A Python of this minor version that other users may run, for root's own may be in a closed home."""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for found in (os.path.realpath(sys.executable), f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        argv = ["setpriv", "--reuid=65534", "--clear-groups", found, "-c", "import ctypes, socket"]
        if os.path.exists(found) and subprocess.run(argv, capture_output=True, check=False).returncode == 0:
            return found
    pytest.skip(f"there is no {name} that other users may run")


@contextlib.contextmanager
def two_users(place: Path) -> Iterator[tuple[User, User]]:
    """Two users, and a directory that both can enter."""
    place.mkdir()
    packages = place / "packages"
    for package in (slurm, cloudpickle):
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, packages / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["chmod", "-R", "a+rX", place], check=True)
    made: list[User] = []
    try:
        made.append(User(f"st-ann-{os.getpid()}", place, packages))
        made.append(User(f"st-bob-{os.getpid()}", place, packages))
        yield made[0], made[1]
    finally:
        for user in made:
            user.remove()
