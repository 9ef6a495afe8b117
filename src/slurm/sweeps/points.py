"""Points: the canonical parameters of the points of a space, and which of them a sweep has."""

from __future__ import annotations

import gc
import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause the collection of garbage while many objects are made: it would look at all of them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def canonical(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as JSON values."""
    found: dict[str, Any] = json.loads(json.dumps(dict(params), allow_nan=False))
    return found


def identity(params: Mapping[str, Any]) -> str:
    """The digest of parameters."""
    values = {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in params.items()}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def points_of(space: Iterable[Mapping[str, Any]], *, most: int) -> dict[str, dict[str, Any]]:
    """The points of a space by identity, in order. Raises ConfigurationError for equal points, or too many."""
    found: dict[str, dict[str, Any]] = {}
    for number, params in enumerate(space):
        if number >= most:
            raise ConfigurationError(
                f"the space has more than {most} points: leave some out with .where or .sample, or pass max_points="
            )
        digest = identity(params)
        if digest in found:
            raise ConfigurationError(f"the same point twice: {found[digest]} and {dict(params)}: leave one out")
        found[digest] = canonical(params)
    return found


def new_points(known: Sequence[Mapping[str, Any]], points: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Those points that a sweep does not have."""
    there = set(map(identity, known))
    return [params for digest, params in points.items() if digest not in there]
