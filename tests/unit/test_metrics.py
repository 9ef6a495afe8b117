"""Metrics: which results and files are taken, and how they are stored."""

from __future__ import annotations

import decimal
import fractions
import json
import math
import os
import pickle
from collections import ChainMap, OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm import task
from slurm.errors import ProtocolError
from slurm.protocol import FAILED, METRICS, RUN, SAVE, SUCCEEDED
from slurm.protocol.outcomes import CallFailure, Outcome
from slurm.runner.job_context import JobContext
from slurm.runner.metrics import MOST, Metrics
from slurm.testing import InlineCluster

KEY = "f/20260101T000000Z-00000000"


@task(metrics=True)
def halves(x: int) -> dict[str, float]:
    return {"half": x / 2}


class Scalar:
    """A number of a library, as NumPy's float32 is one."""

    def __init__(self, value: float, ndim: int = 0) -> None:
        self.value, self.ndim = value, ndim

    def __float__(self) -> float:
        return self.value

    def __index__(self) -> int:
        raise TypeError("only integer arrays can be an index")


class Broken(dict[str, float]):
    def items(self) -> Any:
        raise RuntimeError("no items today")


@pytest.fixture
def job(tmp_path: Path) -> JobContext:
    return JobContext.from_environment(str(tmp_path), KEY, 4, {}, 1)


def write(job: JobContext, call: int, data: bytes) -> Path:
    path = Path(job.directory, "work", str(call), METRICS)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"loss": 0.5, "steps": 3}, {"loss": 0.5, "steps": 3}),
        ({"ok": True}, {"ok": 1}),
        ({"a": math.nan, "b": math.inf, "c": -math.inf}, {"a": "nan", "b": "inf", "c": "-inf"}),
        ({"a": 1 << 63, "b": -(1 << 70), "c": 10**400}, {"a": float(1 << 63), "b": -float(1 << 70), "c": "inf"}),
        ({"a": decimal.Decimal("0.5"), "b": fractions.Fraction(1, 4)}, {"a": 0.5, "b": 0.25}),
        ({"a": Scalar(0.5)}, {"a": 0.5}),
        (OrderedDict(a=1), {"a": 1}),
        (ChainMap({"a": 1}, {"b": 2}), {"b": 2, "a": 1}),
        ({}, {}),
        ({f"n{at}": at for at in range(MOST)}, {f"n{at}": at for at in range(MOST)}),
    ],
)
def test_a_mapping_of_names_to_numbers_is_stored(job: JobContext, value: Any, stored: dict[str, Any]) -> None:
    found = Metrics(job).of_result(value)
    assert found == stored
    record = Outcome(status=SUCCEEDED, phase=SAVE, metrics=found)
    assert json.loads(record.dumps(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert Outcome.loads(record.dumps(), where="") == record


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, ""),
        (3.0, ""),
        ([("a", 1)], ""),
        ({"a": "3"}, "the value of 'a' is not a number but of type str"),
        ({"a": None}, "not a number but of type NoneType"),
        ({"a": [1]}, "not a number but of type list"),
        ({"a": 1j}, "not a number but of type complex"),
        ({"a": Scalar(0.5, ndim=1)}, "not a number but of type Scalar"),
        ({1: 1}, "1 is not a name"),
        ({"": 1}, "'' is not a name"),
        ({"a\n": 1}, "is not a name"),
        ({"a" * 129: 1}, "is not a name"),
        ({f"n{at}": at for at in range(MOST + 1)}, "it has 65 names, and metrics have at most 64"),
        (Broken(a=1.0), "RuntimeError: no items today"),
    ],
)
def test_other_results_have_no_metrics(
    job: JobContext, value: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Metrics(job).of_result(value) is None
    error = capsys.readouterr().err
    assert (said in error, bool(error)) == (True, bool(said))


@given(st.dictionaries(st.text(max_size=6), st.floats() | st.integers() | st.booleans() | st.text(max_size=2)))
def test_what_is_stored_can_be_read(value: dict[str, Any]) -> None:
    found = Metrics(JobContext.from_environment("/nowhere", KEY, 0, {}, 1)).of_result(value)
    record = Outcome(status=SUCCEEDED, phase=SAVE, metrics=found)
    assert Outcome.loads(record.dumps(), where="") == record


def test_a_file_has_the_metrics_of_a_result_that_has_none(job: JobContext) -> None:
    write(job, 4, b'{"loss": 0.25, "bad": NaN}')
    metrics = Metrics(job)
    assert metrics.of_result(None) == metrics.of_failure() == {"loss": 0.25, "bad": "nan"}
    assert metrics.of_result({"loss": 0.5}) == {"loss": 0.5}


@pytest.mark.parametrize("data", [b"", b"[1]", b'{"a": ', b'{"a": "x"}', b"\xff", b"[" * 70_000, b" " * 70_000 + b"{}"])
def test_another_file_is_left_out_with_a_reason(
    job: JobContext, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(job, 4, data)
    assert Metrics(job).of_failure() is None
    assert f"metrics: {path} is not used, because " in capsys.readouterr().err


def test_a_file_of_an_earlier_attempt_does_not_count(job: JobContext) -> None:
    files = [write(job, call, b'{"loss": 1}') for call in (4, 5, 6)]
    Metrics(job).forget([4])  # the first attempt: there is no earlier one
    Metrics(job.replace(attempt=2)).forget([4, 6, 7])
    assert [os.path.exists(path) for path in files] == [False, True, False]


def test_each_call_of_an_element_has_its_own(job: JobContext) -> None:
    write(job, 7, b'{"loss": 7}')
    failure = CallFailure(call=1, phase=RUN)
    done: list[bytes | CallFailure] = [
        pickle.dumps({"loss": 0.5}),
        failure,
        b"damaged",
        pickle.dumps(None),
        pickle.dumps([0] * 100_000),
    ]
    found = Metrics(job).of_calls(done)
    assert found == ({"loss": 0.5}, None, None, {"loss": 7}, None)
    outcome = Outcome(status=FAILED, phase=SAVE, ends=(1, 1, 2, 3, 4), failures=(failure,), call_metrics=found)
    again = Outcome.loads(outcome.dumps(), where="")
    assert [again.of_call(call).metrics for call in range(5)] == list(found)
    assert again.of_call(0).call_metrics is None
    assert Metrics(job.replace(index=0)).of_calls([pickle.dumps(3)]) is None


def test_an_outcome_has_a_bounded_size(job: JobContext, capsys: pytest.CaptureFixture[str]) -> None:
    data = pickle.dumps({f"a long name number {at}": 0.1234567 for at in range(MOST)})
    found = Metrics(job).of_calls([data] * 1000)
    assert found is not None
    assert (found[0] is None, found[-1]) == (False, None)
    assert len(json.dumps(found)) < 1_200_000
    assert "those of the last are not recorded" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        {"metrics": [1]},
        {"metrics": {"a": "b"}},
        {"metrics": {"a": [1]}},
        {"metrics": {"a": None}},
        {"call_metrics": [{"a": 1}]},
        {"ends": [1], "call_metrics": [{"a": 1}, None]},
        {"ends": [1], "call_metrics": [[1]]},
    ],
)
def test_damaged_metrics_are_an_error(damage: dict[str, Any]) -> None:
    fields = {"status": SUCCEEDED, "phase": SAVE, **damage}
    with pytest.raises(ProtocolError, match="not a valid outcome record"):
        Outcome.loads(json.dumps(fields), where="outcomes/0.json")


def test_an_outcome_without_metrics_is_as_before() -> None:
    assert b"metrics" not in Outcome(status=SUCCEEDED, phase=SAVE).dumps()


def test_an_inline_cluster_has_metrics() -> None:
    with InlineCluster():
        assert halves.map([1, 2]).metrics(60) == [{"half": 0.5}, {"half": 1.0}]
        assert halves.map([1, 2], chunk_size=2).metrics(60) == [{"half": 0.5}, {"half": 1.0}]
