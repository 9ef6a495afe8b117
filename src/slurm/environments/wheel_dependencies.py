"""What wheels need: whether it is anything, what of them decides what is installed for it, and from where."""

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


def need_more(wheels: Sequence[BuiltWheel], *, extras: bool) -> bool:
    """Whether some wheels need more than one another; `extras`, whether any are asked for.

    Markers are for where it is installed, so they aren't looked at but for extras.
    """
    own = {_normal(wheel.name) for wheel in wheels}
    needed = [text for wheel in wheels for text in wheel.requires if extras or not _OF_AN_EXTRA.search(text)]
    return any(_named(text) not in own or "[" in text.partition(";")[0] for text in needed)


def deciding(wheels: Sequence[BuiltWheel]) -> Sequence[Sequence[object]]:
    """What of some wheels decides what is installed for them: an edit of their code leaves it the same.

    Their versions may be new at each edit, and count only where another of them asks for one.
    """
    found: list[Sequence[object]] = []
    for wheel in wheels:
        name = _normal(wheel.name)
        asked_for = any(name == _named(text) for other in wheels if other is not wheel for text in other.requires)
        found.append([name, wheel.version if asked_for else None, wheel.requires_python, wheel.requires])
    return found


def _named(requirement: str) -> str:
    """The name in a requirement (packaging.python.org, Dependency specifiers)."""
    found = _NAME.match(requirement.strip())
    return _normal(found[0]) if found else requirement


def _normal(name: str) -> str:
    """A name as all its spellings are compared (packaging.python.org, Names and normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def refuse_password(text: str, where: str) -> None:
    """Raises ConfigurationError for text with a password in a URL, since what is asked for is kept with jobs."""
    if has_password(text):
        message = (
            f"Wheel: {where} has a password in it, which would be kept with jobs: write it where the packages are "
            "installed, in ~/.netrc or pip's own settings"
        )
        raise ConfigurationError(message)
