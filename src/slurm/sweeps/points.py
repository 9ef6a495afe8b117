"""Points: the canonical parameters of the points of a space, and the points that a sweep does not have yet."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError
from slurm.spaces.identity import canonical, digest, identity
from slurm.spaces.space import Space

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause the garbage collector while many objects are made: it would visit all of them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def points_of(space: Iterable[Mapping[str, Any]], *, most: int) -> dict[str, dict[str, Any]]:
    """Return the points of a space by identity, in order. Raises ConfigurationError if two are equal, or for more than
    `most` points.
    """
    too_many = f"points, more than {most}: leave some out with .where or .sample, or pass max_points="
    if isinstance(space, Space) and space.exact and space.size > most:
        raise ConfigurationError(f"the space has {space.size} {too_many}")
    found: dict[str, dict[str, Any]] = {}
    for number, params in enumerate(space):
        if number >= most:
            raise ConfigurationError(f"the space has at least {number + 1} {too_many}")
        values = canonical(params)
        known = found.setdefault(digest(values), values)
        if known is not values:
            raise ConfigurationError(f"the same point twice: {known} and {dict(params)}: leave one out")
    return found


def new_points(known: Sequence[Mapping[str, Any]], points: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the points that are not in `known`."""
    there = set(map(identity, known))
    return [params for digest, params in points.items() if digest not in there]
