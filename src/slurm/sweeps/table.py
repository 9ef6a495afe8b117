"""Table: parameters, metrics and final states of the points of a sweep, as rows to filter, group and write."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from operator import itemgetter
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, overload

from slurm.spaces.conditions import condition
from slurm.usage import near

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pandas as pd

    from slurm.sweeps.snapshot import Point

    Row = Mapping[str, Any]

COLUMNS = ("point", "state", "source", "seconds", "memory", "attempts")
"""The columns of this package: the number of the point, its state, where it ran, its duration in seconds, its peak
memory in bytes, and the number of its attempts.
"""

_SHOWN = 20
"""The number of rows that a printout and a notebook show."""


class Table(Sequence["Row"]):
    """An immutable sequence of rows with the same columns.

    The columns are `parameters`, then `metrics`, then the columns of this package. A row is a dict, in any order; an
    unknown value is None. If a metric, or a column of this package, has the name of an earlier column, "_" is added to
    its name. A table reads no file after it was made.
    """

    __slots__ = ("_rows", "columns", "metrics", "parameters")

    def __init__(
        self, rows: Iterable[Row], *, parameters: Sequence[str], metrics: Sequence[str] = (), others: Sequence[str] = ()
    ) -> None:
        """Make a table of `rows`, which have all the named columns. `others` are neither parameters nor metrics."""
        self._rows = tuple(rows)
        self.parameters = tuple(parameters)
        self.metrics = tuple(metrics)
        self.columns = (*self.parameters, *self.metrics, *others)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Table: ...
    def __getitem__(self, index: int | slice) -> Row | Table:
        return self._with(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return f"<Table of {len(self)} rows: {', '.join(self.columns)}>"

    def __str__(self) -> str:
        """Return the first rows as text, in aligned columns."""
        lines = [self.columns, *([str(_text(row[name])) for name in self.columns] for row in self._rows[:_SHOWN])]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        shown = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        more = [f"… {len(self) - _SHOWN} more rows"] if len(self) > _SHOWN else []
        return "\n".join([*shown, *more])

    def column(self, name: str) -> list[Any]:
        """Return the values of a column, in the order of the rows. Raises KeyError with the nearest name."""
        return [row[self._known(name)] for row in self._rows]

    def where(self, predicate: str | Callable[[Row], object]) -> Table:
        """Return the rows that meet a condition: a text such as "lr < 0.1 and state == 'done'", or a function of a row.

        Raises ConfigurationError if the text is not a condition on the columns.
        """
        holds = condition(predicate, self.columns) if isinstance(predicate, str) else predicate
        return self._with(row for row in self._rows if holds(row))

    def sort(self, by: str, *, largest: bool = False) -> Table:
        """Return the rows sorted by a column; rows without a number in it come last, in their present order."""
        ranked = sorted(self._numbered(by), key=itemgetter(0), reverse=largest)
        rest = (row for row in self._rows if _number(row[by]) is None)
        return self._with([*(row for _, row in ranked), *rest])

    def best(self, metric: str, *, largest: bool = False) -> Row:
        """Return the row with the smallest value of a metric, or with `largest` the largest.

        NaN and missing values do not count. Raises KeyError for an unknown column, and ValueError if no row has a
        number in this column.
        """
        numbered = self._numbered(metric)
        if not numbered:
            raise ValueError(f"no point has a number for {metric!r} yet")
        return (max if largest else min)(numbered, key=itemgetter(0))[1]

    def group(self, *by: str) -> Table:
        """Return one row for each combination of values of the columns `by`, with the statistics of each metric.

        For a metric `loss`, `loss` is the mean, `loss_std` the standard deviation of a sample (None for one value), and
        `loss_min` and `loss_max` are the smallest and the largest value, and `loss_count` is the number of values that
        they are computed from. Points without a number for a metric, such as failed points, do not count for this
        metric. `count` is the number of all points of the group, in any state.
        """
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in self._rows:
            groups.setdefault(tuple(repr(row[self._known(name)]) for name in by), []).append(row)
        names = [name for metric in self.metrics for name in _statistics(metric, ())]
        count = _free(("count",), (*by, *names))["count"]
        rows = []
        for some in groups.values():
            merged: dict[str, Any] = {name: some[0][name] for name in by}
            for metric in self.metrics:
                merged |= _statistics(metric, [n for n in (_number(row[metric]) for row in some) if n is not None])
            rows.append(merged | {count: len(some)})
        return Table(rows, parameters=by, metrics=names, others=(count,))

    def pivot(self, rows: str, columns: str, values: str) -> Table:
        """Return the means of the column `values`: one row for each value of the column `rows`, and one column for each
        value of the column `columns`.
        """
        across = list({repr(value): value for value in self.column(columns)}.values())
        cells: dict[str, dict[str, list[float]]] = {}
        heads: dict[str, Any] = {}
        for row in self._rows:
            head, number = row[self._known(rows)], _number(row[self._known(values)])
            heads[repr(head)] = head
            cell = cells.setdefault(repr(head), {}).setdefault(repr(row[columns]), [])
            cell += [] if number is None else [number]
        names = {repr(value): f"{columns}={value}" for value in across}
        found = [
            {rows: heads[head]} | {name: fmean(cell[key]) if cell.get(key) else None for key, name in names.items()}
            for head, cell in cells.items()
        ]
        return Table(found, parameters=(rows,), metrics=list(names.values()))

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV file with a header line. None becomes an empty cell; lists and mappings become JSON. Replaces the
        file.
        """
        with open(path, "w", encoding="utf-8", newline="") as file:
            self.write_csv(file)

    def write_csv(self, file: Any) -> None:
        """Write the lines of `to_csv` into an open text file."""
        writer = csv.writer(file)
        writer.writerow(self.columns)
        cells = itemgetter(*self.columns) if len(self.columns) > 1 else lambda row: (row[self.columns[0]],)
        writer.writerows([_text(value) for value in cells(row)] for row in self._rows)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a data frame. Raises ImportError if pandas is not installed."""
        try:
            from pandas import DataFrame  # noqa: PLC0415 - not a dependency
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: install it here, or use to_csv()") from error
        return DataFrame(list(self._rows), columns=list(self.columns))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write a Parquet file. Raises ImportError if pandas or pyarrow is not installed."""
        try:
            import pyarrow  # noqa: F401, ICN001, PLC0415 - pandas finds it; this tells of a missing one in our words
        except ImportError as error:
            raise ImportError("to_parquet() needs pandas and pyarrow: install them here, or use to_csv()") from error
        self.to_pandas().to_parquet(path)

    def _repr_html_(self) -> str:
        from slurm.views.displays import escape, table  # noqa: PLC0415 - for notebooks only

        rows = [[escape(_text(row[name])) for name in self.columns] for row in self._rows[:_SHOWN]]
        more = f"<div>… {len(self) - _SHOWN} more rows</div>" if len(self) > _SHOWN else ""
        return table(rows, head=self.columns) + more

    def _with(self, rows: Iterable[Row]) -> Table:
        others = self.columns[len(self.parameters) + len(self.metrics) :]
        return Table(rows, parameters=self.parameters, metrics=self.metrics, others=others)

    def _known(self, name: str) -> str:
        if name not in self.columns:
            raise KeyError(f"there is no column {name!r}{near(name, self.columns)}")
        return name

    def _numbered(self, name: str) -> list[tuple[float, Row]]:
        self._known(name)
        found = ((_number(row[name]), row) for row in self._rows)
        return [(number, row) for number, row in found if number is not None]


def table_of(points: Sequence[Point]) -> Table:
    """Return the table of points: their parameters (nested ones as "model.lr"), metrics, and COLUMNS."""
    flat = [_flat(point.params) for point in points]
    found = [(point.ended.metrics if point.ended and point.ended.succeeded else None) or {} for point in points]
    parameters = dict.fromkeys(name for params in flat for name in params)
    metrics = _free(dict.fromkeys(name for each in found for name in each), parameters)
    ours = _free(COLUMNS, (*parameters, *metrics.values()))
    rows = [
        parameters
        | params
        | {column: values.get(name) for name, column in metrics.items()}
        | dict(zip(ours.values(), _ours(point), strict=True))
        for point, params, values in zip(points, flat, found, strict=True)
    ]
    return Table(rows, parameters=tuple(parameters), metrics=tuple(metrics.values()), others=tuple(ours.values()))


def _flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested parameters by the paths of their names."""
    if not any(isinstance(value, dict) for value in params.values()):
        return {f"{prefix}{name}": value for name, value in params.items()} if prefix else dict(params)
    found: dict[str, Any] = {}
    for name, value in params.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {f"{prefix}{name}": value}
    return found


def _free(names: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """Return a column for each name: "_" is added to a name that is taken."""
    used, found = set(taken), {}
    for name in names:
        column = name
        while column in used:
            column += "_"
        used.add(column)
        found[name] = column
    return found


def _ours(point: Point) -> tuple[Any, ...]:
    """Return the values of COLUMNS for a point, in the same order."""
    ended = point.ended
    seconds, memory = (ended.seconds, ended.peak_memory) if ended else (None, None)
    return point.number, str(point.state), point.source, seconds, memory, point.attempts


def _number(value: Any) -> float | None:
    """Return the value as a number that can be compared; None for NaN and for anything that is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return None if math.isnan(value) else value


def _statistics(metric: str, numbers: Sequence[float]) -> dict[str, float | None]:
    mean = fmean(numbers) if numbers else None
    return {
        metric: mean,
        f"{metric}_std": stdev(numbers) if len(numbers) > 1 else None,
        f"{metric}_min": min(numbers, default=None),
        f"{metric}_max": max(numbers, default=None),
        f"{metric}_count": len(numbers),
    }


def _text(value: Any) -> Any:
    """Return a value as a cell: lists and mappings become JSON."""
    if isinstance(value, list | tuple | dict):
        import json  # noqa: PLC0415 - few tables need it

        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else value
