"""Labels: what is accepted, how layers merge, and where they are stored."""

from __future__ import annotations

import copyreg
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.errors import OptionError, SlurmfileError
from slurm.options import NONE, Options
from slurm.options.labels import has
from slurm.protocol import Block, ResolvedEnvironment, Submission
from slurm.schedulers.directives import lines
from slurm.slurmfile import load

NAMES = st.sampled_from(["sweep", "stage", "team/x", "n.1"])
LAYERS = st.fixed_dictionaries({}, optional={"labels": st.none() | st.dictionaries(NAMES, st.none() | st.just("v"))})


@pytest.mark.parametrize(
    ("given_", "stored"),
    [
        ({"sweep": "depths"}, {"sweep": "depths"}),
        ({"n": 3, "rate": 0.5, "a/b.c-d_e": "x y=ü"}, {"n": "3", "rate": "0.5", "a/b.c-d_e": "x y=ü"}),
        ({"sweep": None}, {"sweep": None}),
    ],
)
def test_labels_are_text(given_: dict[str, Any], stored: dict[str, str | None]) -> None:
    assert Options.parse({"labels": given_}).labels == stored


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("sweep", "labels='sweep': expected a mapping"),
        ({"": "x"}, "the name '' is not possible"),
        ({"a=b": "x"}, "the name 'a=b' is not possible"),
        ({"-a": "x"}, "the name '-a' is not possible"),
        ({"é": "x"}, "the name 'é' is not possible"),
        ({"a" * 65: "x"}, "is not possible"),
        ({3: "x"}, "the name 3 is not possible"),
        ({"a": ""}, "labels={'a': ''}: expected one line of text"),
        ({"a": "x\ny"}, "expected one line of text"),
        ({"a": True}, "expected one line of text"),
        ({"a": "x" * 257}, "expected one line of text of at most 256 characters"),
        ({f"a{number}": "x" for number in range(65)}, "expected at most 64, not 65"),
    ],
)
def test_an_impossible_label_is_an_error_that_shows_it(wrong: Any, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Options.parse({"labels": wrong})
    assert message in str(caught.value)


@given(LAYERS, LAYERS, LAYERS)
def test_later_labels_are_added_and_none_unsets(first: Any, second: Any, third: Any) -> None:
    expected: dict[str, str] = {}
    for layer in (first, second, third):
        expected = {} if layer.get("labels", {}) is None else {**expected, **layer.get("labels", {})}
    a, b, c = map(Options.parse, (first, second, third))
    merged = {name: value for name, value in NONE.merged(a, b, c).labels.items() if value is not None}
    assert merged == {name: value for name, value in expected.items() if value is not None}
    assert NONE.merged(a, b.merged(c)) == NONE.merged(a, b, c)  # a copy of a copy of a task


def test_labels_are_no_directives_and_part_of_equality() -> None:
    one, other = Options.parse({"mem": "1G", "labels": {"a": "1"}}), Options.parse({"mem": "1G"})
    block = Block(first=0, count=1)
    assert lines(one, tag="f/1", log="/x", block=block) == lines(other, tag="f/1", log="/x", block=block)
    assert one != other
    assert pickle.loads(pickle.dumps(one)) == Options.parse(one.to_json()) == one
    assert hash(pickle.loads(pickle.dumps(one))) == hash(one)


def test_options_of_an_earlier_version_have_no_labels() -> None:
    earlier = copyreg.__newobj__(Options)  # type: ignore[attr-defined]
    earlier.__setstate__((None, {"_values": {"mem": "1G"}, "sbatch": {}}))
    assert NONE.merged(earlier) == Options.parse({"mem": "1G"})


def test_a_record_without_labels_is_as_before() -> None:
    environment = ResolvedEnvironment(key="", python="python3", tag="3.11")
    record = Submission(
        key="f/1",
        task="f",
        count=1,
        mapped=False,
        options={},
        environment=environment,
        client={},
        versions={},
        created=1.0,
    )
    assert b"labels" not in record.dumps()
    assert Submission.loads(record.dumps(), where="").labels is None
    labelled = record.replace(labels={"a": "1"})
    assert Submission.loads(labelled.dumps(), where="") == labelled


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, True),
        ({"a": "1"}, True),
        ({"a": "2"}, False),
        ({"b": "1"}, False),
        ({"a": None}, True),
        ({"b": None}, False),
    ],
)
def test_labels_are_compared_by_name_and_value(wanted: dict[str, str | None], found: bool) -> None:
    assert has({"a": "1", "c": "3"}, wanted) is found


def test_a_slurmfile_has_labels(tmp_path: Path) -> None:
    path = tmp_path / "Slurmfile"
    path.write_text(
        "clusters:\n"
        "  base: {url: local, options: {labels: {team: blue, final: yes, n: 3}}}\n"
        "  mine:\n"
        "    extends: base\n"
        "    options:\n"
        "      labels:\n"
        "        team: red\n"
        "        n: null\n"
    )
    entry = load("mine", path)
    assert entry.options.labels == {"team": "red", "final": "yes", "n": None}
    where = {setting.key: (setting.value, setting.origin) for setting in entry.settings}
    assert where["options.labels.team"] == ("red", f"{path}:7")
    assert where["options.labels.final"] == ("yes", f"{path}:2")
    assert "options.labels.n" not in where
    path.write_text("clusters: {mine: {url: local, options: {labels: {a b: x}}}}")
    with pytest.raises(
        SlurmfileError, match=r"clusters.mine.options.labels.a b: labels: the name 'a b' is not possible"
    ):
        load("mine", path)
