"""Failures of a sweep: what is the same kind is one group."""

from __future__ import annotations

from traceback import format_exception

import pytest

from slurm.protocol.states import JobState
from slurm.sweeps.failures import Failure, grouped
from slurm.sweeps.records import Ended
from slurm.views.similar_errors import normalised

STOPPED = Ended(succeeded=False, state=JobState.FAILED, exit_code=1)


def failure(point: int, ended: Ended, state: JobState = JobState.FAILED) -> Failure:
    return Failure(point, ended._replace(state=state))


def raised(function: object, *args: object) -> Ended:
    """How a call ends that raises, with its real traceback."""
    try:
        function(*args)  # type: ignore[operator]
    except Exception as error:  # noqa: BLE001 - any of the tests' own
        trace = "".join(format_exception(error))
        return STOPPED._replace(error=type(error).__name__, message=str(error), traceback=trace)
    raise AssertionError("it raised nothing")


def solve(step: int) -> None:
    raise ValueError(f"no convergence after {step} steps in /scratch/run{step}/grid.h5")


def load(step: int) -> None:
    raise ValueError(f"no convergence after {step} steps in /home/ann/grid.h5")


def chained(step: int) -> None:
    try:
        solve(step)
    except ValueError as error:
        raise RuntimeError(f"point {step} failed") from error


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("step 12 of 100", "step 9 of 250"),
        ("object at 0x7f3a12bc", "object at 0xffeeddcc0011"),
        ("no file /scratch/ann/7/x.h5", "no file /home/bob/run/y.h5"),
        ("node017 is down", "node4 is down"),
        ("loss is -1.5e-07", "loss is 3"),
        ("job 1b4e28ba-2fa1-11d2-883f-0016d3cca427", "job 6fa459ea-ee8a-3ca4-894e-db77e160355e"),
        ("digest 9f86d081884c7d65 differs", "digest 60303ae22b998861 differs"),
        ("two\nlines", "two lines"),
    ],
)
def test_what_differs_between_errors_of_a_kind_does_not_count(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


def test_the_host_of_a_failure_does_not_count() -> None:
    texts = {"gpu-a.site.org": "gpu-a:80 of gpu-ab refuses gpu-a.site.org", "bob": "bob:80 of gpu-ab refuses bob"}
    ended = [STOPPED._replace(error="OSError", message=text, host=host) for host, text in texts.items()]
    (group,) = grouped([failure(point, each) for point, each in enumerate(ended)])
    assert group.pattern == "OSError: …:# of gpu-ab refuses …"


@pytest.mark.parametrize(("one", "other"), [("no column 'lr'", "no column 'depth'"), ("x > 3", "x < 3")])
def test_words_count(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_the_most_frequent_group_is_first_and_names_its_points() -> None:
    found = grouped(
        [
            failure(0, raised(load, 1)),
            *(failure(i, raised(solve, 10 * i)) for i in (3, 5, 8)),
        ]
    )
    assert [group.points for group in found] == [(3, 5, 8), (0,)]
    assert found[0].pattern == "ValueError: no convergence after # steps in /…"
    assert found[0].where == "solve (test_sweep_failures.py)"
    assert found[0].example == "ValueError: no convergence after 30 steps in /scratch/run30/grid.h5"
    assert "in solve" in found[0].traceback
    assert found[1].where == "load (test_sweep_failures.py)"


def test_a_chain_is_grouped_by_where_it_began() -> None:
    (found,) = grouped(failure(i, raised(chained, i)) for i in range(3))
    assert found.where == "solve (test_sweep_failures.py)"
    assert found.points == (0, 1, 2)


@pytest.mark.parametrize("state", [JobState.TIMEOUT, JobState.OUT_OF_MEMORY])
def test_time_and_memory_are_grouped_by_state(state: JobState) -> None:
    (found,) = grouped([failure(0, STOPPED, state), failure(1, raised(solve, 1), state)])
    assert found.pattern == state.value
    assert found.suggestion.startswith("give it more")


def test_a_program_that_ended_is_grouped_by_its_status() -> None:
    assert [group.pattern for group in grouped([failure(0, STOPPED)])] == ["its process ended with status 1"]
