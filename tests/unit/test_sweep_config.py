"""A sweep in a file: the rules of YAML 1.2, the space it says, and all problems at once with their lines."""

from __future__ import annotations

from collections import UserDict, UserList
from pathlib import Path
from typing import Any

import pytest

from slurm.spaces.ranges import choice, integer, uniform
from slurm.sweeps.config import SweepConfig, SweepConfigError
from slurm.sweeps.yaml_values import read

FILE = """\
# Depths of a network
sweep:
  grid:
    lr: [1e-3, 1.0e-2]
    model:
      depth: [2, 3]
  paired:
    - data:
        path: [a.csv, b.csv]
        rows: [10, 20]
  where: lr < 0.01 or model.depth == 2
defaults:
  seed: 7
metadata:
  author: ann
command: python train.py {overrides}
options: {time: "1:00:00", mem: 4G}
"""


def test_a_file_says_a_space(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(FILE)
    found = SweepConfig.load(tmp_path / "sweep.yaml")
    assert found.space.size == 8
    assert len(found.space) == 6
    assert next(iter(found.space)) == {"seed": 7, "lr": 0.001, "model.depth": 2, "path": "a.csv", "rows": 10}
    assert found.command == "python train.py {overrides}"
    assert found.options == {"time": "1:00:00", "mem": "4G"}
    assert found.metadata == {"author": "ann"}
    found.save(tmp_path / "copy.yaml")
    assert (tmp_path / "copy.yaml").read_text() == FILE


def test_any_mapping_is_a_sweep_and_can_be_saved(tmp_path: Path) -> None:
    values = {"sweep": {"grid": {"lr": (0.1, 0.01), "flag": [True, None]}}, "task": "train.py:train"}
    made = SweepConfig(values)
    made.save(tmp_path / "sweep.yaml")
    assert list(SweepConfig.load(tmp_path / "sweep.yaml").space) == list(made.space)


def test_mappings_and_sequences_of_other_libraries_are_read() -> None:
    values = UserDict(
        {
            "sweep": UserDict(
                {"grid": UserDict({"lr": UserList([0.1, 0.2]), "opt": UserDict({"name": UserList(["sgd"])})})}
            ),
            "defaults": UserDict({"layers": UserList([4, 8])}),
        }
    )  # as OmegaConf has them
    found = SweepConfig(values)
    assert next(iter(found.space)) == {"layers": [4, 8], "lr": 0.1, "opt.name": "sgd"}
    assert list(SweepConfig.loads(found.dumps()).space) == list(found.space)


def test_points_have_nested_names() -> None:
    found = SweepConfig.loads("sweep: {points: [{model: {lr: 1}}, {model: {lr: 2}}], where: model.lr > 1}")
    assert list(found.space) == [{"model.lr": 2}]


def test_two_paired_groups_multiply_and_points_do_too() -> None:
    found = SweepConfig({"sweep": {"paired": [{"a": {"x": [1, 2], "y": [3, 4]}}, {"b": {"z": [5, 6]}}]}})
    assert len(found.space) == 4
    assert len(SweepConfig({"sweep": {"grid": {"a": [1, 2]}, "points": [{"b": 1}, {"b": 2}]}}).space) == 4
    assert len(SweepConfig({"sweep": {"grid": {"a": list(range(50))}, "sample": {"n": 5, "seed": 1}}}).space) == 5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1.0e-3", 0.001), ("1_000", "1_000"), ("12:30", "12:30"), ("2026-01-02", "2026-01-02"),
        ("no", "no"), ("'no'", "no"), ("true", True), ("null", None), ("~", None), ("010", 10), ("0o10", 8),
        ("0x1F", 31), ("+1", 1), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("'1e3'", "1e3"), ("=", "="),
        ("1 2", "1 2"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = read(f"x: {text}").value["x"]
    assert found == value
    assert type(found) is type(value)


def test_words_that_yaml_1_1_reads_otherwise_are_told() -> None:
    found = SweepConfig.loads("sweep:\n  grid:\n    flag: [yes, 'no']\n", where="s.yaml")
    assert found.notes == (
        "s.yaml, line 3: sweep.grid.flag[0]: yes is text, as in YAML 1.2: write true or false, or quote it",
    )


def test_all_problems_of_a_file_are_told_at_once_with_lines() -> None:
    text = """\
swep: {}
sweep:
  grd: {}
  grid:
    lr: 0.1
    depth: [2, .nan]
    depth: [3]
  paired:
    - data:
        path: [a, b]
        rows: [1, 2, 3]
        lr: [1, 2]
    - nothing
  where: dept > 2
task: a:b
command: c
options: {memm: 1G}
"""
    with pytest.raises(SweepConfigError) as first:  # the text itself comes first
        SweepConfig.loads(text, where="s.yaml")
    assert first.value.problems == ("s.yaml, line 7: sweep.grid.depth: a name twice, first in line 6",)
    with pytest.raises(SweepConfigError) as caught:
        SweepConfig.loads(text.replace("    depth: [3]\n", ""), where="s.yaml")
    found = "\n".join(caught.value.problems)
    for part in (
        "line 1: swep: unknown key: did you mean 'sweep'?",
        "line 3: sweep.grd: unknown key: did you mean 'grid'?",
        "line 5: sweep.grid.lr: expected a list of values, such as [0.1]",
        "line 6: sweep.grid.depth[1]: depth=nan: a parameter is a finite number",
        "line 8: sweep.paired[0].data: the lists of a group have the same length: path has 2, rows has 3, lr has 2",
        "line 11: sweep.paired[0].data.lr: the parameter lr twice, first as sweep.grid.lr",
        "line 12: sweep.paired[1]: expected a name and its lists",
        "line 13: sweep.where: 'dept > 2' names dept, which is no parameter: did you mean 'depth'?",
        "line 15: command: a sweep calls a task or a command",
        "line 16: options: ",
    ):
        assert part in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping with the key sweep"),
        ("- a", "expected a mapping"),
        ("a: [", "line 1: not YAML"),
        ("sweep: {grid: {}}", "there are no parameters"),
        ("sweep: {grid: [1]}", "expected a mapping of names to lists"),
        ("sweep: {grid: {a: [!x 1]}}", "tags are not supported"),
        ("a: &a [*a]", "contains itself"),
        ("sweep: {grid: {a: [1]}, sample: 3}", r"expected \{n: 20, seed: 1\}"),
        ("sweep: {grid: {a: [1]}, sample: {n: -1, seed: 1}}", r"expected \{n: 20, seed: 1\}"),
        ("sweep: {points: 3}", "line 1: sweep.points: expected a list of points"),
        ("sweep: {points: [3]}", r"line 1: sweep.points\[0\]: expected a point such as"),
        ("sweep: {points: [{a: .nan}]}", r"sweep.points\[0\].a: a=nan"),
        ("sweep: {grid: {a: [1]}, points: [{a: 2}]}", "the parameter a twice, first as sweep.grid.a"),
        ("sweep: {grid: {m: [1], m.lr: [2]}}", "m.lr is within m, which has values of its own"),
        ("sweep: {grid: {a: [1]}}\nmetadata: 3", "line 2: metadata: expected a mapping, not 3"),
        ("sweep: {grid: {a: [1]}}\noptions: [3]", r"line 2: options: expected a mapping, not \[3\]"),
    ],
)
def test_what_is_no_sweep_is_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(SweepConfigError, match=message):
        SweepConfig.loads(text)


def test_a_missing_file_is_an_error_and_not_a_traceback(tmp_path: Path) -> None:
    assert "No such file" in SweepConfig.validate(tmp_path / "none.yaml")[0]


SEARCH = """\
sweep:
  search:
    lr: {uniform: [1e-5, 1e-1], log: true}
    model:
      depth: {integer: [1, 10]}
    act: [relu, tanh]
  sampler: {metric: loss, trials: 20, direction: maximize}
defaults: {seed: 7}
task: train.py:train
"""


def test_a_file_says_a_search() -> None:
    found = SweepConfig.loads(SEARCH).search
    assert found is not None
    assert found.ranges == {
        "seed": choice([7]),
        "lr": uniform(1e-5, 0.1, log=True),
        "model.depth": integer(1, 10),
        "act": choice(["relu", "tanh"]),
    }
    assert found.options == {"sampler": "tpe", "metric": "loss", "trials": 20, "direction": "maximize"}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("uniform:", "unifrom:", "line 3: sweep.search.lr: .*did you mean 'uniform'"),
        ("[1e-5, 1e-1]", "[0, 1]", "line 3: sweep.search.lr: .*above 0"),
        ("metric:", "metirc:", "line 7: sweep.sampler.metirc: unknown key: did you mean 'metric'"),
        ("maximize", "up", "line 7: sweep.sampler: direction='up'"),
        ("trials: 20", "trials: many", "line 7: sweep.sampler: trials='many'"),
        ("metric: loss, ", "", "line 7: sweep.sampler: .*metric="),
        ("  search:", "  grid: {x: [1]}\n  search:", "line 2: sweep.grid: a file has either points, or a search"),
    ],
)
def test_a_search_that_cannot_be_is_told_with_its_line(before: str, after: str, message: str) -> None:
    with pytest.raises(SweepConfigError, match=message):
        SweepConfig.loads(SEARCH.replace(before, after))
