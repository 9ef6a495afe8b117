"""The table of a sweep: filter, order, group, pivot, and write rows."""

from __future__ import annotations

import csv
import math
from io import StringIO
from typing import TYPE_CHECKING

import pytest

from slurm.protocol.states import JobState
from slurm.sweeps.records import Ended
from slurm.sweeps.snapshot import Point, State
from slurm.sweeps.table import COLUMNS, Table, table_of

if TYPE_CHECKING:
    from pathlib import Path


def table(*losses: float | None, lr: float = 0.1) -> Table:
    """Points with these losses, in order; depth counts from 2, and seeds alternate."""
    rows = [
        {"lr": lr, "depth": 2 + i // 2, "seed": i % 2, "loss": loss, "point": i}
        | dict.fromkeys(COLUMNS[1:], None)
        | {"state": "COMPLETED" if loss is not None else "FAILED"}
        for i, loss in enumerate(losses)
    ]
    return Table(rows, parameters=("lr", "depth", "seed"), metrics=("loss",), others=COLUMNS)


class TestRows:
    def test_a_table_is_a_sequence_of_rows_with_all_columns(self) -> None:
        found = table(0.5, 0.25)
        assert len(found) == 2
        assert found.columns == ("lr", "depth", "seed", "loss", *COLUMNS)
        assert found[1]["loss"] == 0.25
        assert [row["seed"] for row in found] == [0, 1]
        assert found.column("loss") == [0.5, 0.25]
        assert found[1:].column("loss") == [0.25]

    def test_the_first_rows_are_printed_in_columns(self) -> None:
        lines = str(table(*range(25))).splitlines()
        assert lines[0].split() == ["lr", "depth", "seed", "loss", *COLUMNS]
        assert lines[2].split()[:4] == ["0.1", "2", "1", "1"]
        assert [len(lines), lines[-1]] == [22, "… 5 more rows"]
        assert str(table()).split() == list(table().columns)

    def test_an_unknown_column_is_named_with_the_nearest(self) -> None:
        with pytest.raises(KeyError, match="there is no column 'los': did you mean 'loss'"):
            table(1.0).best("los")

    def test_where_keeps_the_rows_that_fit(self) -> None:
        assert table(1.0, 2.0, 3.0).where(lambda row: row["loss"] > 1).column("loss") == [2.0, 3.0]


class TestBest:
    @pytest.mark.parametrize(("largest", "expected"), [(False, 0.25), (True, 3.0)])
    def test_the_best_is_the_least_or_the_largest(self, largest: bool, expected: float) -> None:
        assert table(1.0, None, 0.25, math.nan, 3.0).best("loss", largest=largest)["loss"] == expected

    def test_without_any_number_there_is_none(self) -> None:
        with pytest.raises(ValueError, match="no point has a number for 'loss' yet"):
            table(None, math.nan).best("loss")

    @pytest.mark.parametrize("largest", [False, True])
    def test_rows_without_a_number_come_last(self, largest: bool) -> None:
        found = table(1.0, None, 3.0, 2.0).sort("loss", largest=largest).column("loss")
        assert found == [3.0, 2.0, 1.0, None] if largest else [1.0, 2.0, 3.0, None]


class TestGroups:
    def test_a_group_has_count_mean_and_spread(self) -> None:
        found = table(1.0, 3.0, 5.0, None).group("depth")
        assert found.columns == ("depth", "loss", "loss_std", "loss_min", "loss_max", "loss_count", "count")
        assert [tuple(row) for row in found] == [found.columns] * 2
        assert tuple(found[0].values()) == (2, 2.0, pytest.approx(2**0.5), 1.0, 3.0, 2, 2)

    def test_a_failed_point_counts_for_its_group_and_not_for_the_metric(self) -> None:
        _, found = table(1.0, 3.0, 5.0, None).group("depth")
        assert tuple(found.values()) == (3, 5.0, None, 5.0, 5.0, 1, 2)

    def test_a_parameter_of_the_name_count_stays(self) -> None:
        rows = [{"count": 7, "loss": 1.0}, {"count": 7, "loss": 3.0}]
        (found,) = Table(rows, parameters=("count",), metrics=("loss",)).group("count")
        assert (found["count"], found["count_"]) == (7, 2)

    def test_true_and_one_are_two_groups(self) -> None:
        rows = [{"flag": True, "loss": 1.0}, {"flag": 1, "loss": 3.0}]
        assert len(Table(rows, parameters=("flag",), metrics=("loss",)).group("flag")) == 2

    def test_a_pivot_has_a_column_for_each_value(self) -> None:
        found = table(1.0, 2.0, 3.0, None).pivot("depth", "seed", "loss")
        assert found.columns == ("depth", "seed=0", "seed=1")
        assert list(found) == [
            {"depth": 2, "seed=0": 1.0, "seed=1": 2.0},
            {"depth": 3, "seed=0": 3.0, "seed=1": None},
        ]


class TestFiles:
    def test_csv_has_a_line_of_names_and_json_in_cells(self, tmp_path: Path) -> None:
        rows = [{"layers": [64, 32], "name": 'a "b", c', "loss": None}]
        Table(rows, parameters=("layers", "name"), metrics=("loss",)).to_csv(tmp_path / "t.csv")
        with (tmp_path / "t.csv").open(newline="") as file:
            assert list(csv.reader(file)) == [["layers", "name", "loss"], ["[64, 32]", 'a "b", c', ""]]

    def test_one_column_is_written_too(self) -> None:
        Table([{"x": 1}], parameters=("x",)).write_csv(file := StringIO())
        assert file.getvalue().split() == ["x", "1"]

    def test_pandas_has_the_same_rows(self, tmp_path: Path) -> None:
        pytest.importorskip("pandas")
        frame = table(1.0, None).to_pandas()
        assert list(frame.columns) == list(table(1.0).columns)
        assert frame["loss"].tolist()[0] == 1.0
        pytest.importorskip("pyarrow")
        table(1.0).to_parquet(tmp_path / "t.parquet")
        assert (tmp_path / "t.parquet").stat().st_size

    def test_a_notebook_shows_markup_as_text(self) -> None:
        found = Table([{"x": "<script>alert(1)</script>"}], parameters=("x",))._repr_html_()
        assert "<script>" not in found
        assert "&lt;script&gt;" in found


def point(number: int, params: dict[str, object], **metrics: float) -> Point:
    """A point that is done, with metrics."""
    ended = Ended(succeeded=True, state=JobState.COMPLETED, seconds=2.5, peak_memory=1 << 20, metrics=metrics)
    return Point(number, params, State.DONE, JobState.COMPLETED, 1, "cpu", number, ended, 1)


class TestPoints:
    def test_rows_have_parameters_metrics_and_what_became_of_the_point(self) -> None:
        found = table_of([point(0, {"model": {"lr": 0.1, "layers": [8]}, "seed": 1}, loss=0.5)])
        assert found.parameters == ("model.lr", "model.layers", "seed")
        assert found.metrics == ("loss",)
        assert dict(found[0]) == {
            "model.lr": 0.1, "model.layers": [8], "seed": 1, "loss": 0.5, "point": 0, "state": "done", "source": "cpu",
            "seconds": 2.5, "memory": 1 << 20, "attempts": 1,
        }  # fmt: skip

    def test_a_point_without_an_outcome_or_a_parameter_has_none_there(self) -> None:
        waits = Point(1, {"b": 2}, State.ALIVE, JobState.PENDING, 1, "cpu", 1, None, 1)
        found = table_of([point(0, {"a": 1}, loss=0.5), waits, Point(2, {"a": 3}, State.MISSING)])
        assert found.column("loss") == [0.5, None, None]
        assert found.column("a") == [1, None, 3]
        assert found.column("state") == ["done", "alive", "missing"]
        assert found.column("source") == ["cpu", "cpu", None]

    def test_metrics_of_a_failed_call_do_not_count(self) -> None:
        bad = Ended(succeeded=False, state=JobState.FAILED, metrics={"loss": 0.0})
        found = table_of([point(0, {"a": 1}, loss=0.5), Point(1, {"a": 2}, State.FAILED, ended=bad)])
        assert found.best("loss")["a"] == 1

    def test_a_column_with_the_name_of_an_earlier_one_ends_in_an_underscore(self) -> None:
        (row,) = table_of([point(7, {"state": "CA", "loss": 3}, loss=0.5, seconds=9.0)])
        assert (row["state"], row["state_"]) == ("CA", "done")
        assert (row["loss"], row["loss_"]) == (3, 0.5)
        assert (row["seconds"], row["seconds_"]) == (9.0, 2.5)
