"""Other forms of a sweep file that HPC Sweep Manager reads, converted to the form with the key `sweep`.

grid: {lr: [0.1, 0.2]}                    # at the top
paired: [{data: {path: [a, b]}}]

strategy: grid                            # as its older versions write it
parameters: {lr: {values: [0.1, 0.2]}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_AT_THE_TOP = ("grid", "paired")


def with_sweep(values: Mapping[str, Any], lines: Mapping[str, int]) -> tuple[Mapping[str, Any], Mapping[str, int]]:
    """Convert values to the form with the key `sweep`, and their lines to the new keys. Values that have this form
    already are returned unchanged.
    """
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
    """Make a grid of the values of each parameter.

    A parameter without `values` is copied, and the check of the grid refuses it.
    """
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
