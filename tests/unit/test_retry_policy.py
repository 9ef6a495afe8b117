"""Retry: which failures are retried, and the options of the next attempt."""

from __future__ import annotations

import re
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm import Retry
from slurm.errors import JobError, JobOutOfMemory, JobTimedOut, NodeFailed, OptionError
from slurm.options import NONE, Options
from slurm.options.retry import of_options
from slurm.options.values import megabytes, seconds
from slurm.protocol.outcomes import class_name


def names(kind: type[BaseException]) -> frozenset[str]:
    return frozenset(map(class_name, kind.__mro__))


def changes(retry: Retry, kind: type[BaseException], options: Options = NONE, **facts: object) -> Options | None:
    found = retry.next_options(options.get, names(kind), **{"tried": 0, "node": "n1", **facts})  # type: ignore[arg-type]
    return None if found is None else Options(found, {})


retries = st.builds(
    Retry,
    st.integers(1, 9),
    on=st.none() | st.lists(st.sampled_from([ValueError, NodeFailed, "a.b.C"]), min_size=1).map(tuple),
    mem=st.none() | st.floats(1.01, 8).map(lambda factor: f"x{factor:g}"),
    exclude_failed_node=st.booleans(),
)


@given(retries)
def test_a_retry_survives_the_options_of_a_submission(retry: Retry) -> None:
    options = Options.parse(Options.parse({"retry": retry}).to_json())
    assert of_options(options.get) == retry


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("error", "did you mean OSError?"),
        ("NodeFail", "did you mean NodeFailed?"),
        ("job_out_of_memory", "did you mean JobOutOfMemory?"),
        ("print", "there is no print"),
        ("Frobnicated", "'module.Name'"),
    ],
)
def test_an_unknown_exception_name_is_rejected(name: str, meant: str) -> None:
    for make in (
        lambda: Retry(on=name),
        lambda: Retry(on=("ValueError", name)),
        lambda: Options.parse({"retry": {"on": [name]}}),
    ):
        with pytest.raises(OptionError, match=re.escape(meant)):
            make()


def test_names_with_modules_are_accepted_and_ours_have_none() -> None:
    assert Retry(on=("requests.exceptions.Timeout", "builtins.OSError")).on == (
        "OSError",
        "requests.exceptions.Timeout",
    )
    for name in ("slurm.NodeFailed", "slurm.errors.NodeFailed"):
        assert changes(Retry(on=name), NodeFailed) == NONE


def test_unknown_names_in_a_recorded_retry_are_accepted() -> None:
    found = of_options(Options.parse({"retry": '{"on": ["Misspelt", "NodeFailed"], "times": 2}'}).get)
    assert found is not None
    assert (found.on, found.times) == (("Misspelt", "NodeFailed"), 2)


@given(st.integers(1, 1 << 20), st.sampled_from("KMGT"), st.floats(1.01, 16), st.none() | st.integers(1, 1 << 20))
def test_memory_grows_up_to_its_maximum(amount: int, unit: str, factor: float, bound: int | None) -> None:
    options = Options.parse({"mem": f"{amount}{unit}"})
    retry = Retry(mem=factor, max_mem=None if bound is None else f"{bound}M")
    found = changes(retry, JobOutOfMemory, options)
    if found is None:
        assert bound is not None or megabytes(f"{amount}{unit}") * factor <= 1  # less than the smallest amount
    else:
        grown = str(Options.parse(found.to_json()).get("mem"))
        assert bound is None or megabytes(grown) <= bound


@pytest.mark.parametrize(
    ("given", "factor", "bound", "grown"),
    [("2M", 1.25, None, "3M"), ("10M", 1.1, None, "11M"), ("1G", 2, "1500M", "1500M"), ("200K", 2, "500K", "1M")],
)
def test_memory_is_rounded_up_to_whole_megabytes(given: str, factor: float, bound: str | None, grown: str) -> None:
    found = changes(Retry(mem=factor, max_mem=bound), JobOutOfMemory, Options.parse({"mem": given}))
    assert found is not None
    assert found.to_json() == {"mem": grown}


def test_time_grows_in_every_form_of_sbatch() -> None:
    for text, expected in (
        ("90", "03:00:00"),
        ("12:00:00", "1-00:00:00"),
        ("1-12", "3-00:00:00"),
        ("0:30", "00:01:00"),
    ):
        found = changes(Retry(time="x2"), JobTimedOut, Options.parse({"time": text}))
        assert found is not None
        assert found.get("time") == expected
        assert seconds(expected) == 2 * (seconds(text) or 0)
    unlimited = Options.parse({"time": "UNLIMITED"})
    assert changes(Retry(time="x2"), JobTimedOut, unlimited) is None


def test_the_default_retries_failures_that_the_task_did_not_cause() -> None:
    assert changes(Retry(), NodeFailed) == NONE
    assert changes(Retry(), ValueError) is None
    assert changes(Retry(), JobOutOfMemory) is None
    assert changes(Retry(mem="x2"), JobOutOfMemory, Options.parse({"mem": "1G"})) == Options.parse({"mem": "2048M"})


def test_a_class_includes_its_subclasses() -> None:
    assert changes(Retry(on=OSError), ConnectionResetError) == NONE
    assert changes(Retry(on=JobError), JobTimedOut) == NONE
    assert changes(Retry(on="ConnectionError"), ConnectionResetError) == NONE
    assert changes(Retry(on=OSError), ValueError) is None


def test_the_number_of_retries_is_limited() -> None:
    assert changes(Retry(times=2), NodeFailed, tried=1) == NONE
    assert changes(Retry(times=2), NodeFailed, tried=2) is None


def test_failed_nodes_are_excluded_unless_memory_ran_out() -> None:
    retry = Retry(exclude_failed_node=True, mem="x2")
    assert changes(retry, NodeFailed, Options.parse({"exclude": "n7"})) == Options.parse({"exclude": "n7,n1"})
    assert changes(retry, JobOutOfMemory, Options.parse({"mem": "1"})) == Options.parse({"mem": "2M"})
    assert changes(retry, NodeFailed, node=None) == NONE


@pytest.mark.parametrize("wrong", [{"on": "ConnectionEror"}, {"time": "no"}, {"max_mem": "1G"}])
def test_an_error_of_a_policy_is_one_error_that_ends_at_its_line(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as caught:
        Retry(**wrong)
    assert caught.value.__context__ is None
    assert "slurm/options" not in "".join(traceback.format_exception(caught.value))


def test_a_factor_that_may_be_a_number_of_retries_is_said_to_be_one() -> None:
    with pytest.raises(OptionError, match=r"set time\. For the number of retries, write Retry\(times=3\)"):
        Retry(time=3).check(NONE.get)
