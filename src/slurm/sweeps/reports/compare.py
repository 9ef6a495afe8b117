"""Compare: the differences between the points that two sweeps have in common, right minus left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.spaces.identity import identity
from slurm.sweeps.table import Table, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.sweeps.snapshot import Point

_COSTS = ("seconds", "memory")


class Comparison(NamedTuple):
    """The differences between the points that two sweeps have in common."""

    table: Table
    """A row for each common point: each metric as right minus left, then `loss_left`, `loss_right` and the states."""
    only_left: tuple[int, ...]
    """The numbers of the points that only the left sweep has."""
    only_right: tuple[int, ...]
    """The numbers of the points that only the right sweep has."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        rows = [dict(row) for row in self.table]
        return {"rows": rows, "only_left": list(self.only_left), "only_right": list(self.only_right)}


def compared(left: Sequence[Point], right: Sequence[Point]) -> Comparison:
    """Compare the points with equal parameters of two sweeps. A metric that one of the two points lacks is None."""
    before, after = table_of(left), table_of(right)
    places = {identity(point.params): number for number, point in enumerate(left)}
    pairs = {number: places.pop(identity(point.params), None) for number, point in enumerate(right)}
    metrics = tuple(dict.fromkeys((*before.metrics, *after.metrics, *_COSTS)))
    rows = [
        {name: after[new].get(name) for name in after.parameters} | _changes(metrics, before[old], after[new])
        for new, old in pairs.items()
        if old is not None
    ]
    names = [f"{name}{side}" for name in metrics for side in ("", "_left", "_right")]
    table = Table(rows, parameters=after.parameters, metrics=names, others=("state_left", "state_right"))
    only_right = tuple(number for number, old in pairs.items() if old is None)
    return Comparison(table, tuple(places.values()), only_right)


def _changes(metrics: Sequence[str], left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in metrics:
        old, new = left.get(name), right.get(name)
        found |= {name: None if old is None or new is None else new - old, f"{name}_left": old, f"{name}_right": new}
    return found | {"state_left": left["state"], "state_right": right["state"]}
