"""The keys `sweep.search` and `sweep.sampler` of a file: the ranges of an adaptive search, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import ConfigurationError
from slurm.spaces.ranges import KINDS, range_of
from slurm.sweeps.adaptive.settings import SearchOptions, search_of
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slurm.spaces.ranges import Range

KEYS = ("search", "sampler")
_SETTINGS = ("name", *(name for name in SearchOptions.__annotations__ if name != "sampler"))


class FileSearch(NamedTuple):
    """The search of a file, as `Sweep` takes it."""

    ranges: Mapping[str, Range]
    options: SearchOptions


def read_search(
    sweep: Mapping[str, Any], constants: Mapping[str, Any], refuse: Callable[[str, str], None]
) -> FileSearch | None:
    """Return the search of a file; None if it has none. `constants` are values that all points have.

    Calls `refuse` with the key and the message of each problem.
    """
    if not any(key in sweep for key in KEYS):
        return None
    for key in sweep:
        if key not in KEYS:
            refuse(f"sweep.{key}", "a file has either points, or a search: leave out this, or search and sampler")
    ranges: dict[str, Range] = {}
    for name, value in (*((name, [value]) for name, value in constants.items()), *_flat(sweep.get("search"))):
        try:
            ranges[name] = range_of(value)
        except ConfigurationError as error:
            refuse(f"sweep.search.{name}", str(error))
    return FileSearch(ranges, _options(sweep.get("sampler"), ranges, refuse))


def _options(given: Any, ranges: Mapping[str, Range], refuse: Callable[[str, str], None]) -> SearchOptions:
    """Return the settings of a search. Calls `refuse` for each problem."""
    settings: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"name": given or "tpe"}
    unknown = [name for name in settings if name not in _SETTINGS]
    for name in unknown:
        refuse(f"sweep.sampler.{name}", f"unknown key{near(str(name), _SETTINGS)}")
    options: Any = {"sampler": settings.pop("name", "tpe"), **settings}
    if not ranges:
        refuse("sweep.search", "expected names with ranges, such as lr: {uniform: [1e-5, 0.1], log: true}")
    elif not unknown:
        try:
            search_of(ranges, options)
        except ConfigurationError as error:
            refuse("sweep.sampler", str(error))
    return options  # type: ignore[no-any-return]


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each range with its name; a range in a nested mapping is named "model.depth".

    A misspelt range counts as a range.
    """
    for name, value in values.items() if isinstance(values, Mapping) else ():
        if isinstance(value, Mapping) and not any(get_close_matches(str(key), KINDS) for key in value):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
