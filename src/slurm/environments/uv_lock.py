"""uv.lock: which of a project's packages are directories of this machine, and exact versions of all other packages."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from slurm.environments.installer import find_uv
from slurm.environments.wheel_building import run
from slurm.errors import EnvironmentNotReady

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "uv.lock"
_PACKAGE = re.compile(
    r'^\[\[package\]\]\nname = "(?P<name>[^"\n]+)"\n(?:version = .*\n)?'
    r'source = \{ (?P<kind>[a-z]+) = "(?P<source>[^"\n]+)"',
    re.MULTILINE,
)
_LOCAL = ("editable", "directory", "virtual", "path")
_REMOTE = ("git", "url")
_OPTIONS = (
    *("--frozen", "--no-hashes", "--no-emit-project", "--no-default-groups", "--no-header", "--no-annotate"),
    "--quiet",
)
_PATH = re.compile(r"(?:-e\s+)?(?:\S+\s*@\s*)?(?:file://)?(?P<path>\.{0,2}/.*|\.{1,2})")


def local_packages(lock: str) -> dict[str, str]:
    """Return the packages that a lock takes from this machine: their normalized names, and their absolute paths."""
    directory = os.path.dirname(os.path.abspath(lock))
    return {name: os.path.realpath(os.path.join(directory, path)) for name, path in _sources(lock, _LOCAL).items()}


def remote_packages(lock: str) -> dict[str, str]:
    """Return the packages that a lock takes from repositories and URLs: their normalized names, and the URLs."""
    return _sources(lock, _REMOTE)


def _sources(lock: str, kinds: Sequence[str]) -> dict[str, str]:
    try:
        text = Path(lock).read_text(encoding="utf-8")
    except OSError:
        return {}
    return {found["name"]: found["source"] for found in _PACKAGE.finditer(text) if found["kind"] in kinds}


def lock_of(project: str) -> str | None:
    """Find the lock of a project: beside it, or in the directory of its workspace."""
    for directory in (Path(project), *Path(project).parents):
        lock = str(directory / NAME)
        if os.path.realpath(project) in local_packages(lock).values():
            return lock
    return None


def export(project: str, extras: Sequence[str], log: Path) -> tuple[str, list[str]]:
    """Return what the lock of a project requires: the exact versions, as constraints, and the paths of local packages.

    The result covers the project and the named extras, but not other extras or groups, which may conflict with these.
    Raises BuildFailed, EnvironmentNotReady.
    """
    uv = find_uv()
    if uv is None:
        raise EnvironmentNotReady("uv is needed to read uv.lock: install uv, or export the lock to a requirements file")
    named = [word for extra in extras for word in ("--extra", extra)]
    exported = run([uv, "export", "--project", project, *_OPTIONS, *named], "uv.lock could not be read", log)
    directory = os.path.dirname(lock_of(project) or os.path.join(project, NAME))
    constraints, paths = [], []
    for line in exported.splitlines():
        local = _PATH.fullmatch(re.split(r"\s+;", line)[0].strip())
        if local:
            path = unquote(local["path"]) if "file://" in line else local["path"]
            paths.append(os.path.realpath(os.path.join(directory, path)))
        else:
            constraints.append(line)
    return "\n".join(constraints), paths
