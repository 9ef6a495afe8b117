"""Local packages: projects of this machine that other projects require. They must be passed as `Wheel(packages=…)`.

A requirement may name the directory (Poetry writes "mine @ file:///home/ann/mine" for a path dependency), or uv.lock
may name it (path sources, members of a workspace). Without the local package, an index might provide another package of
the same name. The same is true for a package that uv.lock takes from a repository, if the lock is not used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from slurm.environments.direct_references import Reference, copy_without_urls
from slurm.environments.sources import is_project
from slurm.environments.uv_lock import NAME, local_packages, lock_of, remote_packages
from slurm.environments.wheel_building import BuiltWheel
from slurm.environments.wheel_dependencies import is_active, name_in, normalized
from slurm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


def check_requirements(
    projects: Mapping[str, BuiltWheel], extras: Sequence[str], dependencies: Sequence[str], *, lock: str | None
) -> None:
    """Raise ConfigurationError for a local package that is neither among the projects nor named by `dependencies`.

    The extras are those of the first project. `lock` is the lock in use.
    """
    given = {normalized(wheel.name) for wheel in projects.values()}.union(map(name_in, dependencies))
    first = next(iter(projects))
    for project, wheel in projects.items():
        own_lock = lock_of(project) or ""
        local, remote = local_packages(own_lock), remote_packages(own_lock)
        for text in wheel.requires:
            name, found = name_in(text), Reference.parse(text)
            if name in given or not is_active(text, extras if project == first else ()):
                continue
            if found and found.path:
                raise _missing(name, found.path, wheel.name)
            if not found and name in local:
                raise _missing(name, local[name], f"{wheel.name} (by {own_lock})")
            if not found and name in remote and lock is None:
                raise ConfigurationError(
                    f"{wheel.name} (by {own_lock}) requires {name} from {remote[name]}: pass lock={NAME!r}, or name "
                    f"the version that an index gives: dependencies='{name}==…'"
                )


def link(wheels: Iterable[BuiltWheel], directory: Path) -> list[BuiltWheel]:
    """Return the wheels without URLs in their requirements of each other. Changed wheels are written to `directory`."""
    wheels = list(wheels)
    given = {normalized(wheel.name) for wheel in wheels}
    linked = []
    for wheel in wheels:
        new = copy_without_urls(wheel.path, directory, dict.fromkeys(given, ""))
        linked.append(BuiltWheel.read(new) if new != wheel.path else wheel)
    return linked


def check_lock(lock: str, paths: Iterable[str], projects: Iterable[str], dependencies: Sequence[str]) -> None:
    """Raise ConfigurationError if a path that a lock requires is neither a project nor in `dependencies`."""
    names = {path: name for name, path in local_packages(lock).items()}
    given = {os.path.realpath(project) for project in projects}
    allowed = set(map(name_in, dependencies))
    for path in paths:
        name = names.get(path, os.path.basename(path))
        if path not in given and name not in allowed:
            raise _missing(name, path, lock)


def _missing(name: str, path: str, requiring: str) -> ConfigurationError:
    advice = f"pass packages={path!r}" if is_project(path) else "there is no project there"
    message = (
        f"{requiring} requires {name} from {path} on this machine: {advice}, or name the version that an index gives: "
        f"dependencies='{name}==…'"
    )
    return ConfigurationError(message)
