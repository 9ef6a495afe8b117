"""Forms of a sweep file that HPC Sweep Manager has besides that with `sweep:`, as values of the form with it.

grid: {lr: [0.1, 0.2]}                    # at the top
paired: [{data: {path: [a, b]}}]

strategy: grid                            # what its older versions write
parameters: {lr: {values: [0.1, 0.2]}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_AT_THE_TOP = ("grid", "paired")


def with_sweep(values: Mapping[str, Any], lines: Mapping[str, int]) -> tuple[Mapping[str, Any], Mapping[str, int]]:
    """Return values with the key `sweep`, and their lines by the new keys. Other values are returned as they are."""
    if "sweep" in values:
        return values, lines
    if isinstance(values.get("parameters"), Mapping) and values.get("strategy", "grid") == "grid":
        return _from_parameters(values, lines)
    if not any(name in values for name in _AT_THE_TOP):
        return values, lines
    rest = {name: value for name, value in values.items() if name not in _AT_THE_TOP}
    sweep = {name: values[name] for name in _AT_THE_TOP if values.get(name)}
    moved = {key: line for key, line in lines.items() if key.partition(".")[0].partition("[")[0] in _AT_THE_TOP}
    return {"sweep": sweep, **rest}, {**lines, **{f"sweep.{key}": line for key, line in moved.items()}}


def _from_parameters(
    values: Mapping[str, Any], lines: Mapping[str, int]
) -> tuple[Mapping[str, Any], Mapping[str, int]]:
    """The values of each parameter are those of a grid; what has no values stays, and is refused there."""
    rest = {name: value for name, value in values.items() if name not in ("parameters", "strategy")}
    grid = {
        name: each["values"] if isinstance(each, Mapping) and set(each) == {"values"} else each
        for name, each in values["parameters"].items()
    }
    new = {
        f"sweep.grid.{key.removeprefix('parameters.').replace('.values', '', 1)}": line
        for key, line in lines.items()
        if key.startswith("parameters.")
    }
    return {"sweep": {"grid": grid}, **rest}, {**new, **lines}
