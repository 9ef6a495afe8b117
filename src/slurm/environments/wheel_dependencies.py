"""The dependencies of wheels: whether there are any, and which parts of the wheels decide what is installed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.errors import ConfigurationError
from slurm.sanitize.redaction import has_password

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.environments.wheel_building import BuiltWheel

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_OF_AN_EXTRA = re.compile(r"\bextra\s*==")
_EXTRA = re.compile(r"""\bextra\s*==\s*["']([^"']+)""")


def need_more(wheels: Sequence[BuiltWheel], *, extras: bool) -> bool:
    """Whether wheels need packages other than each other. `extras` is whether any extras are requested.

    Markers are evaluated on the cluster, so only the markers of extras count here.
    """
    own = {normalized(wheel.name) for wheel in wheels}
    needed = [text for wheel in wheels for text in wheel.requires if extras or not _OF_AN_EXTRA.search(text)]
    return any(name_in(text) not in own or "[" in text.partition(";")[0] for text in needed)


def deciding(wheels: Sequence[BuiltWheel]) -> Sequence[Sequence[object]]:
    """Return the parts of wheels that decide which dependencies are installed. Edits of the code do not change them.

    A project's version may change with each edit, so it counts only if another of the projects requires it.
    """
    found: list[Sequence[object]] = []
    for wheel in wheels:
        name = normalized(wheel.name)
        asked_for = any(name == name_in(text) for other in wheels if other is not wheel for text in other.requires)
        found.append([name, wheel.version if asked_for else None, wheel.requires_python, wheel.requires])
    return found


def is_active(requirement: str, extras: Sequence[str]) -> bool:
    """Whether a requirement of a wheel counts if these extras are requested. Other markers are not evaluated."""
    found = {normalized(name) for name in _EXTRA.findall(requirement)}
    return not found or not found.isdisjoint(map(normalized, extras))


def name_in(requirement: str) -> str:
    """Return the normalized name in a requirement (packaging.python.org, Dependency specifiers)."""
    found = _NAME.match(requirement.strip())
    return normalized(found[0]) if found else requirement


def normalized(name: str) -> str:
    """Return the normalized name (packaging.python.org, Names and normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def refuse_password(text: str, where: str) -> None:
    """Raise ConfigurationError if a URL in the text has a password: requirements are stored with jobs."""
    if has_password(text):
        raise ConfigurationError(
            f"Wheel: {where} contains a password, which would be stored with jobs. Put it into ~/.netrc or the "
            "settings of pip, on the machine where packages are installed"
        )
