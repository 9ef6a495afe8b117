"""Local packages: projects of this machine that other projects require. They must be given, as `Wheel(packages=…)`.

A requirement may name the directory (Poetry writes "mine @ file:///home/ann/mine" for a path dependency), or uv.lock
does (path sources, members of a workspace). Without the package, an index might give another one of the same name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from slurm.environments.direct_references import Reference, copy_without_urls
from slurm.environments.sources import is_project
from slurm.environments.uv_lock import NAME, local_packages, lock_of
from slurm.environments.wheel_building import BuiltWheel
from slurm.environments.wheel_dependencies import is_active, name_in, normalized
from slurm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


def link(
    projects: Mapping[str, BuiltWheel], extras: Sequence[str], dependencies: Sequence[str], directory: Path
) -> list[BuiltWheel]:
    """Return the wheels of projects, in which requirements of each other have no URLs any more.

    A changed wheel is written to `directory`. The extras are those of the first project. Raises ConfigurationError for
    a local package that is neither among the projects nor named by `dependencies`.
    """
    given = {normalized(wheel.name) for wheel in projects.values()}
    linked = []
    for project, wheel in projects.items():
        local = local_packages(lock_of(project) or "")
        active = [text for text in wheel.requires if is_active(text, () if linked else extras)]
        for text in active:
            found = Reference.parse(text)
            path = found.path if found else local.get(name_in(text))
            if path is not None and name_in(text) not in given.union(map(name_in, dependencies)):
                raise _missing(name_in(text), path, wheel.name, f"the lock of {project}" if not found else None)
        new = copy_without_urls(wheel.path, directory, dict.fromkeys(given, ""))
        linked.append(BuiltWheel.read(new) if new != wheel.path else wheel)
    return linked


def check_lock(lock: str, paths: Iterable[str], projects: Iterable[str], dependencies: Sequence[str]) -> None:
    """Raise ConfigurationError if some of the paths that a lock requires are not projects, nor in `dependencies`."""
    names = {path: name for name, path in local_packages(lock).items()}
    given = {os.path.realpath(project) for project in projects}
    allowed = set(map(name_in, dependencies))
    for path in paths:
        name = names.get(path, os.path.basename(path))
        if path not in given and name not in allowed:
            raise _missing(name, path, NAME, None)


def _missing(name: str, path: str, requiring: str, source: str | None) -> ConfigurationError:
    advice = f"pass packages={path!r}" if is_project(path) else "there is no project there"
    where = f", according to {source}" if source else ""
    message = (
        f"{requiring} requires {name} from {path} on this machine{where}: {advice}, or name the version that an index "
        f"gives: dependencies='{name}==…'"
    )
    return ConfigurationError(message)
