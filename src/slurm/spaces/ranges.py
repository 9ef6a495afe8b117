"""Ranges: the values that a parameter may take in an adaptive search, where a sampler chooses the next points."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from slurm.errors import ConfigurationError
from slurm.spaces.identity import canonical, digest
from slurm.spaces.space import Space
from slurm.usage import near

KINDS = ("uniform", "integer", "choice")


class Range(NamedTuple):
    """The values of one parameter. Make a range with `uniform`, `integer` or `choice`."""

    kind: Literal["uniform", "integer", "choice"]
    low: float = 0
    high: float = 0
    log: bool = False
    values: tuple[Any, ...] = ()
    """The values of a choice."""

    @property
    def size(self) -> float:
        """How many values the range has; infinite for real numbers."""
        if self.kind == "choice":
            return len(self.values)
        if self.kind == "integer":
            return self.high - self.low + 1
        return math.inf if self.low < self.high else 1

    def at(self, index: int) -> Any:
        """Return a value of a finite range, by its index from 0 to `size` - 1."""
        if self.kind == "choice":
            return self.values[index]
        return int(self.low) + index if self.kind == "integer" else self.low

    def position(self, value: Any) -> int | None:
        """Return the index of a value of a choice; None if the choice has no such value."""
        wanted = digest(canonical({"choice": value}))
        found = (at for at, each in enumerate(self.values) if digest(canonical({"choice": each})) == wanted)
        return next(found, None)

    def has(self, value: Any) -> bool:
        """Whether a value is in the range."""
        if self.kind == "choice":
            return self.position(value) is not None
        kinds = int if self.kind == "integer" else (int, float)
        return not isinstance(value, bool) and isinstance(value, kinds) and self.low <= value <= self.high

    def to_json(self) -> dict[str, Any]:
        """Return the range in the form of a sweep file: {"uniform": [1e-5, 0.1], "log": true}."""
        if self.kind == "choice":
            return {"choice": list(self.values)}
        return {self.kind: [self.low, self.high], **({"log": True} if self.log else {})}


def uniform(low: float, high: float, *, log: bool = False) -> Range:
    """Make a range of all numbers from `low` to `high`. With `log`, all orders of magnitude are equally likely.

    Raises ConfigurationError unless the limits are finite numbers in the right order, and with `log` positive.
    """
    found = _limits("uniform", low, high, log=log)
    return found._replace(low=float(low), high=float(high))


def integer(low: int, high: int, *, log: bool = False) -> Range:
    """Make a range of the integers from `low` to `high`, both included; `log` is as for `uniform`.

    Raises ConfigurationError for limits that are not integers, and as `uniform` does.
    """
    if isinstance(low, float) or isinstance(high, float):
        raise ConfigurationError(f"integer({low!r}, {high!r}): write whole numbers, or uniform({low!r}, {high!r})")
    return _limits("integer", low, high, log=log)


def choice(values: Iterable[Any]) -> Range:
    """Make a range of given values, which have no order.

    Raises ConfigurationError if there are no values, or if two are the same.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ConfigurationError(f"choice({values!r:.80}): write a list of its values, such as [{values!r:.80}]")
    found = tuple(canonical({"choice": list(values)})["choice"])
    known = {digest({"choice": value}) for value in found}
    if not found or len(known) < len(found):
        raise ConfigurationError(f"choice({list(found)!r:.80}): write at least one value, and each once")
    return Range("choice", values=found)


def ranges_of(space: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> dict[str, Range]:
    """Return the ranges of the parameters of a space: a mapping of names to ranges or lists of values, or a grid.

    Raises ConfigurationError for a space that leaves out some combinations of values.
    """
    found: Mapping[str, Any] | None = space if isinstance(space, Mapping) else None
    if isinstance(space, Space):
        found = space.axes
    if not found:
        raise ConfigurationError(
            'a sampler chooses from ranges, such as {"lr": uniform(1e-5, 0.1, log=True), "depth": [2, 3]}, or from a '
            f"grid, and not from {space!r:.80}"
        )
    return {name: value if isinstance(value, Range) else _choice(name, value) for name, value in found.items()}


def range_of(value: Any) -> Range:
    """Read a range in the form of a file: {uniform: [1e-5, 0.1], log: true}, {integer: [1, 9]}, or a list of values.

    Raises ConfigurationError.
    """
    if not isinstance(value, Mapping):
        return choice(value)
    given = dict(value)
    log = given.pop("log", False)
    kind, limits = next(iter(given.items()), ("", None))
    if len(given) != 1 or kind not in KINDS:
        wrong = [str(name) for name in given if name not in KINDS]
        hint = near(wrong[0], KINDS) if wrong else ""
        raise ConfigurationError(f"expected {{uniform: [LOW, HIGH], log: true}}, {{integer: …}} or a list{hint}")
    if kind == "choice" and "log" not in value and limits is not None:
        return choice(limits)
    if kind == "choice" or not isinstance(limits, list | tuple) or len(limits) != 2 or not isinstance(log, bool):
        raise ConfigurationError(f"expected {{{kind}: [LOW, HIGH], log: true}}, not {json.dumps(value, default=str)}")
    return (uniform if kind == "uniform" else integer)(*limits, log=log)


def _choice(name: str, value: Any) -> Range:
    try:
        return choice(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from None


def _limits(kind: Literal["uniform", "integer"], low: Any, high: Any, *, log: bool) -> Range:
    for each in (low, high):
        if isinstance(each, bool) or not isinstance(each, int | float) or not math.isfinite(each):
            raise ConfigurationError(f"{kind}({low!r}, {high!r}): the limits are two finite numbers")
    if low > high:
        raise ConfigurationError(f"{kind}({low!r}, {high!r}): the lower limit comes first")
    if log and low <= 0:
        raise ConfigurationError(f"{kind}({low!r}, {high!r}, log=True): with log, the limits are above 0")
    return Range(kind, low, high, log)
