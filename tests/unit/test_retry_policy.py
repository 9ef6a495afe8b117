"""Retry: which failures are survived, and what the next attempt asks for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slurm import Retry
from slurm.errors import JobError, JobOutOfMemory, JobTimedOut, NodeFailed
from slurm.options import NONE, Options
from slurm.options.retry import of_options
from slurm.options.values import megabytes, seconds
from slurm.protocol.outcomes import class_name


def names(kind: type[BaseException]) -> frozenset[str]:
    return frozenset(map(class_name, kind.__mro__))


def changes(retry: Retry, kind: type[BaseException], options: Options = NONE, **facts: object) -> Options | None:
    found = retry.next_options(options, names(kind), **{"tried": 0, "node": "n1", **facts})  # type: ignore[arg-type]
    return None if found is None else Options(found, {})


retries = st.builds(
    Retry,
    st.integers(1, 9),
    on=st.none() | st.lists(st.sampled_from([ValueError, NodeFailed, "a.b.C"]), min_size=1).map(tuple),
    mem=st.none() | st.floats(1.01, 8).map(lambda factor: f"x{factor:g}"),
    exclude_failed_node=st.booleans(),
)


@given(retries)
def test_it_comes_back_from_the_options_of_a_submission(retry: Retry) -> None:
    options = Options.parse(Options.parse({"retry": retry}).to_json())
    assert of_options(options) == retry


@given(st.integers(1, 1 << 20), st.sampled_from("KMGT"), st.floats(1.01, 16), st.none() | st.integers(1, 1 << 20))
def test_memory_grows_up_to_its_bound_and_then_no_more(
    amount: int, unit: str, factor: float, bound: int | None
) -> None:
    options = Options.parse({"mem": f"{amount}{unit}"})
    retry = Retry(mem=factor, max_mem=None if bound is None else f"{bound}M")
    found = changes(retry, JobOutOfMemory, options)
    if found is None:
        assert bound is not None or megabytes(f"{amount}{unit}") * factor < 1.5  # rounding has eaten it
    else:
        grown = str(Options.parse(found.to_json()).get("mem"))
        assert bound is None or megabytes(grown) <= bound


def test_time_grows_in_every_form_that_sbatch_takes() -> None:
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


def test_what_is_survived_by_default_is_what_the_task_is_not_to_blame_for() -> None:
    assert changes(Retry(), NodeFailed) == NONE
    assert changes(Retry(), ValueError) is None
    assert changes(Retry(), JobOutOfMemory) is None
    assert changes(Retry(mem="x2"), JobOutOfMemory, Options.parse({"mem": "1G"})) == Options.parse({"mem": "2048M"})


def test_a_class_stands_for_those_under_it() -> None:
    assert changes(Retry(on=OSError), ConnectionResetError) == NONE
    assert changes(Retry(on=JobError), JobTimedOut) == NONE
    assert changes(Retry(on="ConnectionError"), ConnectionResetError) == NONE
    assert changes(Retry(on=OSError), ValueError) is None


def test_there_are_as_many_tries_as_were_asked_for() -> None:
    assert changes(Retry(times=2), NodeFailed, tried=1) == NONE
    assert changes(Retry(times=2), NodeFailed, tried=2) is None


def test_failed_nodes_are_kept_off_but_not_where_memory_ran_out() -> None:
    retry = Retry(exclude_failed_node=True, mem="x2")
    assert changes(retry, NodeFailed, Options.parse({"exclude": "n7"})) == Options.parse({"exclude": "n7,n1"})
    assert changes(retry, JobOutOfMemory, Options.parse({"mem": "1"})) == Options.parse({"mem": "2M"})
    assert changes(retry, NodeFailed, node=None) == NONE
