"""Items: a part of the result of a job, as an argument of another call. Client and node load it from the pickle."""

from __future__ import annotations

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_KEYS = 20
"""The largest number of keys that an error message lists."""


def item(value: Any, path: tuple[Any, ...]) -> Any:
    """Return `value[a][b]…` of a result, or of a job that stays a job. Raises UpstreamFailed, with the keys there."""
    for number, key in enumerate(path):
        try:
            value = value[key]
        except (LookupError, TypeError) as error:
            from slurm.runner.placeholder_resolver import UpstreamFailed  # noqa: PLC0415 - only for an error

            where = f"the result{''.join(f'[{each!r}]' for each in path[:number])}"
            raise UpstreamFailed(f"{where} has no item {key!r}: {_about(value, error)}") from error
    return value


def _about(value: Any, error: Exception) -> str:
    """Describe which items the value has."""
    if isinstance(value, dict):
        names = ", ".join(map(repr, list(value)[:_KEYS]))
        return f"it has {names or 'no items'}{', …' if len(value) > _KEYS else ''}"
    if isinstance(value, (list, tuple)):
        return f"it has {len(value)} items"
    return f"it is a {type(value).__qualname__}: {error}"
