"""What a sweep shows, made of a snapshot: status, recent points, errors, and why a point is as it is."""

from __future__ import annotations

from collections import Counter

import pytest

from slurm.errors import ConfigurationError
from slurm.protocol.states import JobState
from slurm.sweeps.records import Ended, Shard
from slurm.sweeps.snapshot import Point, Snapshot, State
from slurm.sweeps.views import errors_of, recent_of, status_of, why_of

SHARD = Shard(
    cluster={"url": "slurm:///scratch/ann"},
    source="cpu",
    key="train/20260102T030405Z-aabbccdd",
    points=(0, 9),
    code="c",
)


def ended(at: float, error: str | None = None) -> Ended:
    if error is None:
        return Ended(True, JobState.COMPLETED, host="n1", started=at - 1, ended=at, seconds=1.0, metrics={"loss": 0.5})
    return Ended(False, JobState.FAILED, host="n1", ended=at, error="ValueError", message=error, exit_code=1)


def at_cpu(number: int, state: State, job_state: JobState, ended: Ended | None = None, **more: object) -> Point:
    return Point(number, {"x": number}, state, job_state, 1, "cpu", number, ended, 1, **more)  # type: ignore[arg-type]


POINTS = [
    at_cpu(0, State.DONE, JobState.COMPLETED, ended(10.0)),
    at_cpu(1, State.FAILED, JobState.FAILED, ended(12.0, "x is 1")),
    at_cpu(2, State.ALIVE, JobState.RUNNING, node="n2"),
    at_cpu(3, State.ALIVE, JobState.PENDING, reason="Priority"),
    Point(4, {"x": 4}, State.MISSING),
    at_cpu(5, State.FAILED, JobState.FAILED, ended(11.0, "x is 5")),
    Point(6, {"x": 6}, State.IN_DOUBT, None, 2, "far", 0, None, 1, "cannot connect"),
]
SNAPSHOT = Snapshot(
    POINTS,
    {1: SHARD, 2: SHARD.replace(source="far", cluster={"url": "slurm+ssh://far"})},
    {"slurm+ssh://far": "cannot connect"},
    Counter(point.state for point in POINTS),
)


def test_status_counts_points_by_state_and_source() -> None:
    found = status_of(SNAPSHOT)
    assert found.counts == {
        State.DONE: 1, State.ALIVE: 2, State.IN_DOUBT: 1, State.FAILED: 2, State.MISSING: 1,
    }  # fmt: skip
    assert found.sources == {
        "cpu": {"done": 1, "PENDING": 1, "RUNNING": 1, "failed": 2}, "far": {"in doubt": 1},
    }  # fmt: skip
    assert sum(found.counts.values()) == found.total == len(POINTS)
    assert not found.ended
    assert str(found).splitlines() == [
        "7 points: 1 done, 2 alive, 1 in doubt, 2 failed, 1 missing",
        "cpu: 1 done, 1 PENDING, 1 RUNNING, 2 failed",
        "far: 1 in doubt",
        "slurm+ssh://far does not answer: cannot connect",
    ]


def test_recent_points_are_those_that_ended_last() -> None:
    assert [point.number for point in recent_of(SNAPSHOT, 2)] == [1, 5]


def test_errors_of_one_kind_are_one_group() -> None:
    (group,) = errors_of(SNAPSHOT)
    assert group.pattern == "ValueError: x is #"
    assert group.points == (1, 5)
    assert group.example == "ValueError: x is 1"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, ["x=0: done", "in shard 1 (run); 1 attempt", "took 1.0 s on n1", "loss=0.5"]),
        (1, ["x=1: failed", "FAILED: ValueError: x is 1, on n1", "complete(failed=True)"]),
        (2, ["RUNNING, on n2"]),
        (3, ["PENDING: Priority", "slurm sweep logs depths 3"]),
        (4, ["x=4: missing", "never submitted: complete() submits it"]),
        (6, ["far does not answer: cannot connect", "take_over=True"]),
    ],
)
def test_why_says_what_happened_and_what_to_do(number: int, words: list[str]) -> None:
    found = why_of(SNAPSHOT, number, "depths")
    for each in words:
        assert each in found


@pytest.mark.parametrize("number", [-1, 7])
def test_a_point_that_is_not_there_is_an_error(number: int) -> None:
    with pytest.raises(ConfigurationError, match=f"there is no point {number}: the sweep has 7, from 0"):
        why_of(SNAPSHOT, number, "depths")
