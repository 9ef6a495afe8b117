"""The reports of a sweep show the numbers of the command line, escape all texts, and stay small."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from slurm import Cluster, task
from slurm.cli.main import slurm
from slurm.protocol.states import JobState
from slurm.sweeps import Sweep, choice, grid, integer, uniform
from slurm.sweeps.adaptive.progress import SearchStatus, Trial
from slurm.sweeps.adaptive.settings import Search
from slurm.sweeps.records import Ended
from slurm.sweeps.reports import charts
from slurm.sweeps.reports.compare import compared
from slurm.sweeps.reports.files import NAMES, write_reports
from slurm.sweeps.reports.levels import MOST, levels_of
from slurm.sweeps.reports.numbers import completion_of, failures_of, parameter_levels, performance_of
from slurm.sweeps.reports.spread import Spread, histogram, spread_of
from slurm.sweeps.snapshot import Point, Snapshot, State
from slurm.sweeps.views import errors_of, status_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slurm.sweeps.reports.numbers import Completion

EVIL = "<script>alert('x')</script>"


class Parsed(HTMLParser):
    """The texts and elements of a page. Fails for elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: Counter[str] = Counter()
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def done(number: int, **params: Any) -> Point:
    seconds = 1.0 + number % 5
    ended = Ended(
        True, JobState.COMPLETED, started=1000.0 + number, ended=1000.0 + number + seconds, seconds=seconds,
        peak_memory=1000 * (number + 1), cpu_seconds=seconds / 2, metrics={"loss": 1 / (number + 1)},
    )  # fmt: skip
    return Point(number, params, State.DONE, JobState.COMPLETED, 0, "cpu" if number % 2 else "local", number, ended, 1)


def failed(number: int, state: JobState = JobState.FAILED, **fields: Any) -> Point:
    params = fields.pop("params", {"n": number})
    ended = Ended(False, state, started=5.0, ended=6.0 + number, exit_code=1, **fields)
    return Point(number, params, State.FAILED, state, 0, "cpu", number, ended, 1)


def snapshot(points: Sequence[Point]) -> Snapshot:
    return Snapshot(points, {}, {}, Counter(point.state for point in points))


def ten() -> Snapshot:
    """Four ImportErrors with other paths, two without memory, one without time, one that exits with 3, and two done."""
    missing = [
        failed(n, error="ImportError", message=f"cannot load /home/u{n}/lib.so", params={"n": n, "depth": 7})
        for n in range(4)
    ]
    memory = [failed(n, JobState.OUT_OF_MEMORY) for n in (4, 5)]
    others = [failed(6, JobState.TIMEOUT), failed(7)._replace(ended=Ended(False, JobState.FAILED, exit_code=3))]
    return snapshot([*missing, *memory, *others, done(8, n=8, depth=1), done(9, n=9, depth=2)])


def pages(found: Snapshot, directory: Path, name: str = "ten") -> dict[str, Parsed]:
    written = write_reports(name, found, directory)
    assert [path.name for path in written] == list(NAMES.values())
    return {kind: Parsed((directory / file).read_text()) for kind, file in NAMES.items()}


def test_alike_failures_are_groups_with_what_their_points_have_in_common() -> None:
    found = failures_of(ten())
    assert [len(one.group.points) for one in found] == [4, 2, 1, 1]
    assert all(one.group.suggestion for one in found)
    assert found[0].common == {"depth": 7}
    assert found[1].common == {"depth": None}
    assert found[2].common == {}


def test_the_pages_show_the_numbers_of_status_and_errors(tmp_path: Path) -> None:
    found = ten()
    shown = pages(found, tmp_path)
    status = status_of(found)
    assert completion_of(found, {}).status == status
    for number, what in ((10, "points"), (8, "failed"), (2, "done")):
        texts = shown["completion"].texts
        assert texts[texts.index(what) - 1] == str(number)
    for group in errors_of(found):
        assert any(text.startswith(f"{len(group.points)} × {group.pattern}") for text in shown["errors"].texts)
        assert not group.suggestion or any(group.suggestion in text for text in shown["errors"].texts)


def test_a_page_needs_nothing_else_and_runs_nothing(tmp_path: Path) -> None:
    evil = done(0, **{"name": EVIL, EVIL: "x"})
    other = done(1, **{"name": "\x1b[31mred", EVIL: "&amp;"})
    bad = failed(2, error=EVIL, message=EVIL, traceback=f"Traceback\n{EVIL}", params={"name": EVIL, EVIL: "z"})
    shown = pages(snapshot([evil._replace(source=EVIL), other, bad]), tmp_path, EVIL)
    for page in shown.values():
        assert not page.links
        assert not page.elements["script"]
        assert page.elements["style"] == 1
        assert any(EVIL in text for text in page.texts)
        assert not any("\x1b" in text for text in page.texts)


def test_the_metric_and_the_parameters_of_a_search_are_shown_as_text(tmp_path: Path) -> None:
    ended = done(0).ended
    assert ended
    point = done(0, n=EVIL)._replace(ended=ended._replace(metrics={EVIL: 1.0}))
    written = write_reports("search", snapshot([point]), tmp_path, Search({"n": choice([EVIL])}, EVIL))
    page = Parsed(written[0].read_text())
    assert not page.elements["script"]
    assert f"best {EVIL}" in page.texts
    assert f"n={EVIL}" in page.texts


@pytest.mark.parametrize("points", [[], [Point(0, {"n": 1}, State.MISSING)], [failed(0)], [done(0, n=1)]])
def test_there_are_pages_of_any_sweep(tmp_path: Path, points: Sequence[Point]) -> None:
    pages(snapshot(points), tmp_path)


def test_pages_of_many_points_are_small(tmp_path: Path) -> None:
    kinds = [f"{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(26 * 26)]
    bad = [failed(n, error="ValueError", message=kind, traceback="x" * 20_000) for n, kind in enumerate(kinds)]
    many = [*bad, *(done(n, lr=n / 7, depth=n % 9, name=f"name {n}") for n in range(len(bad), 5000))]
    pages(snapshot(many), tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_000_000


def test_costs_are_those_of_points_that_succeeded() -> None:
    costly = snapshot([*(done(n, n=n % 2) for n in range(10)), failed(10)])
    found = performance_of(costly, parameter_levels(costly))
    assert found.all.seconds == Spread(10, 3.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    assert found.all.cpus == Spread(10, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
    assert found.computed == 30.0
    assert found.elapsed == 14.0
    assert found.concurrency == pytest.approx(30 / 14)
    assert {name: costs.seconds and costs.seconds.number for name, costs in found.sources.items()} == {
        "cpu": 5, "local": 5,
    }  # fmt: skip
    assert {level: costs.memory and costs.memory.most for level, costs in found.parameters["n"].items()} == {
        "0": 9000, "1": 10_000, "10": None,
    }  # fmt: skip
    json.dumps(found.to_json(), allow_nan=False)


def test_progress_counts_what_had_ended() -> None:
    progress = completion_of(snapshot([done(n, n=n) for n in range(1000)]), {}).progress
    assert len(progress) <= 200
    assert progress[-1].done == 1000
    assert [one.done for one in progress] == sorted(one.done for one in progress)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2, 1, 2], {"1": [1], "2": [0, 2]}),
        (["b", "a", "b"], {"b": [0, 2], "a": [1]}),
        ([True, None, [1, 2]], {"true": [0], "null": [1], "[1, 2]": [2]}),
        ([], {}),
    ],
)
def test_equal_values_are_one_level(values: Sequence[Any], expected: dict[str, list[int]]) -> None:
    assert {level.label: list(level.rows) for level in levels_of(values)} == expected


def test_many_numbers_are_ranges_and_many_texts_are_others() -> None:
    numbers = levels_of([n / 2 for n in range(100)])
    assert numbers[0].label == "0 to 6"
    assert sorted(row for level in numbers for row in level.rows) == list(range(100))
    texts = levels_of([f"name {n}" for n in range(100)])
    assert len(texts) == MOST
    assert texts[-1].label == "89 others"
    assert sorted(row for level in texts for row in level.rows) == list(range(100))


def test_equal_numbers_are_in_one_range() -> None:
    found = levels_of([0] * 90 + list(range(1, 20)))
    assert found[0].label == "0"
    assert len(found[0].rows) == 90


def test_a_histogram_counts_each_number_once() -> None:
    bins = histogram([0.0, 0.1, 5.0, 10.0], 10)
    assert [one.number for one in bins] == [2, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert [(one.low, one.high, one.number) for one in histogram([3.0, 3.0])] == [(3.0, 3.0, 2)]
    assert histogram([]) == []
    assert spread_of([]) is None


def test_a_comparison_is_right_minus_left() -> None:
    left = [done(n, n=n) for n in range(3)]
    right = [done(1, n=1)._replace(number=0), done(0, n=5)._replace(number=1), failed(2)]
    found = compared(left, right)
    assert found.table.column("n") == [1, 2]
    assert found.table.column("loss") == [0.0, None]
    assert found.table[1]["loss_left"] == pytest.approx(1 / 3)
    assert found.table.column("state_right") == ["done", "failed"]
    assert found.only_left == (0,)
    assert found.only_right == (1,)


def searched(points: Sequence[Point], **more: Any) -> Completion:
    """The completion of a sweep with a search for the least loss."""
    return completion_of(snapshot(points), {}, Search({"n": integer(0, 9)}, "loss", **more))


def test_a_pruned_point_has_a_value_and_is_not_the_best() -> None:
    points = [done(0, n=0), failed(1), done(2, n=2), done(3, n=3)]
    stopped = points[2].ended
    assert stopped
    points[2] = points[2]._replace(ended=stopped._replace(metrics={"loss": -9.0, "pruned": 1}))
    found = searched(points, prune="median", trials=5)
    assert [(each.point, each.value, each.pruned, each.best) for each in found.trials] == [
        (0, 1.0, False, 1.0),
        (2, -9.0, True, 1.0),
        (3, 0.25, False, 0.25),
    ]
    assert str(found.status.search) == "search by tpe: 4 of 5 trials ended, 1 pruned; best loss 0.25, at point 3"
    assert searched(points, direction="maximize").status.search == SearchStatus(
        "tpe", "maximize", None, 4, 0, "loss", 1.0, 0
    )


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [1e308, -1e308, 5.0], [1e-300, 2e-300], [1.0] * 50 + [1e9]])
def test_any_values_of_a_search_are_drawn_within_the_chart(values: Sequence[float]) -> None:
    for largest in (False, True):
        some = [Trial(number, {}, value, pruned=False, best=value) for number, value in enumerate(values)]
        drawn = charts.trials(some, largest=largest, label="values")
        places = re.findall(r"M([\d.]+),([\d.]+)h0", drawn)
        assert len(places) == len(values)
        assert all(0 <= float(x) <= 640 and 0 <= float(y) <= 200 for x, y in places)
        assert "nan" not in drawn


@task
def train(x: int, rate: float) -> dict[str, float]:
    return {"loss": x * rate}


def test_the_command_writes_reports_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, rates in (("one", [1.0, 2.0]), ("two", [2.0, 3.0])):
        with Cluster("inline"):
            made = Sweep(train, grid(x=range(3), rate=rates), name=name, directory="sweeps")
            made.run()
            made.drive()

    def run(*words: str) -> str:
        ended = CliRunner().invoke(slurm, ["sweep", *words, "--directory", "sweeps"])
        assert ended.exit_code == 0, ended.output
        return ended.output

    paths = run("report", "one").split()
    assert paths == [f"sweeps/one/reports/{file}" for file in NAMES.values()]
    assert all(Parsed((tmp_path / path).read_text()).elements["body"] == 1 for path in paths)
    numbers = json.loads(run("report", "one", "--json"))
    status = json.loads(run("status", "one", "--json"))[0]
    assert {name: numbers["completion"][name] for name in ("points", "counts", "sources")} == {
        name: status[name] for name in ("points", "counts", "sources")
    }
    assert numbers["completion"]["parameters"]["x"] == {str(x): {"done": 2} for x in range(3)}
    assert run("compare", "one", "two").endswith("3 points in both, 3 only in one, 3 only in two\n")
    rows = json.loads(run("compare", "one", "two", "--json"))["rows"]
    assert [row["loss"] for row in rows] == [0.0, 0.0, 0.0]
    wrong = CliRunner().invoke(slurm, ["sweep", "compare", "one", "two", "--metric", "los", "--directory", "sweeps"])
    assert "there is no metric 'los': did you mean 'loss'" in str(wrong.exception) + wrong.output


def test_the_report_of_a_search_has_the_numbers_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Cluster("inline"):
        ranges = {"x": integer(1, 9), "rate": uniform(0, 1)}
        made = Sweep(train, ranges, name="search", directory="sweeps", sampler="tpe", metric="loss", trials=12)
        made.run()
        made.drive()

    def run(*words: str) -> Any:
        return json.loads(CliRunner().invoke(slurm, ["sweep", *words, "--directory", "sweeps", "--json"]).stdout)

    (status,), rows, completion = run("status", "search"), run("table", "search"), run("report", "search")["completion"]
    assert completion["search"] == status["search"]
    assert {each["point"]: each["value"] for each in completion["trials"]} == {
        row["point"]: row["loss"] for row in rows
    }
    texts = Parsed(made.report()[0].read_text()).texts
    best = min(rows, key=lambda row: row["loss"])
    for number, what in (("12 of 12", "trials ended"), (f"{best['loss']:.6g}", "best loss"), ("0", "pruned")):
        assert texts[texts.index(what) - 1] == number
    last = texts[texts.index("parameters") + 1 : texts.index("Sources")]
    assert last[-3:] == [str(best["point"]), f"{best['loss']:.6g}", f"x={best['x']} rate={best['rate']:.6g}"]


@pytest.mark.parametrize(
    ("most", "ticks"),
    [(0, [0, 1]), (1, [0, 1]), (3, [0, 1, 2, 3]), (10, [0, 2, 4, 6, 8, 10]), (1234, [0, 500, 1000, 1500])],
)
def test_an_axis_has_round_numbers(most: float, ticks: list[float]) -> None:
    assert charts._ticks(most) == ticks
