"""Many short calls in one element of the array: the same futures, the same errors, one by one."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from slurm import Cluster, JobContext, current_job, task
from slurm.errors import DependencyFailed, ResultNotSaved, TaskExited


@task
def invert(x: int) -> float:
    return 1 / x


@task
def square(x: float) -> float:
    return x * x


@task
def total(xs: list[float]) -> float:
    return sum(xs)


def test_calls_share_elements_and_keep_their_own_results(cluster: Cluster) -> None:
    array = square.map(range(10), chunk_size=4)
    assert array.results(60) == [x * x for x in range(10)]
    assert [job.result() for job in array[3:9:2]] == [9, 25, 49]
    assert len({job.job_id for job in array}) == 3
    assert len(list(Path(array.directory, "outcomes").iterdir())) == 3
    assert array.summary() == "square: 10 jobs, 10 COMPLETED"


def test_a_call_that_fails_fails_alone(cluster: Cluster) -> None:
    array = invert.map([1, 0, 2, 0, 4], chunk_size=3)
    results = array.results(60, return_exceptions=True)
    assert [x for x in results if isinstance(x, float)] == [1.0, 0.5, 0.25]
    assert [isinstance(x, ZeroDivisionError) for x in results] == [False, True, False, True, False]
    assert [job.index for job in array.failed()] == [1, 3]
    assert "ZeroDivisionError" in array[1].logs()


def test_a_call_that_exits_has_its_own_status(cluster: Cluster) -> None:
    array = task(sys.exit).map([3, 4], chunk_size=2)
    assert [error.exit_code for error in array.exceptions(60) if isinstance(error, TaskExited)] == [3, 4]


def test_a_process_that_dies_takes_the_calls_of_its_element_only(cluster: Cluster) -> None:
    @task
    def die(x: int) -> int:
        if x == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    first, second, third = die.map(range(3), chunk_size=2).results(60, return_exceptions=True)
    assert isinstance(first, TaskExited)
    assert isinstance(second, TaskExited)
    assert third == 2


def test_results_that_cannot_be_saved_fail_alone_too(cluster: Cluster) -> None:
    @task
    def make(x: int) -> object:
        return (i for i in range(3)) if x else x

    good, bad = make.map([0, 1], chunk_size=2).results(60, return_exceptions=True)
    assert good == 0
    assert isinstance(bad, ResultNotSaved)


def test_each_call_knows_its_own_place(cluster: Cluster) -> None:
    @task
    def where(_: int, ctx: JobContext) -> tuple[int, int]:
        return ctx.index, current_job().index

    assert where.map(range(5), chunk_size=2).results(60) == [(i, i) for i in range(5)]


def test_chunks_chain_with_chunks_with_elements_and_with_calls(cluster: Cluster) -> None:
    inverted = invert.map([1, 0, 2, 4], chunk_size=2)
    squared = square.map(inverted, chunk_size=3)
    results = squared.results(60, return_exceptions=True)
    assert [results[0], results[2], results[3]] == [1.0, 0.25, 0.0625]
    assert isinstance(results[1], DependencyFailed)
    assert square.map(inverted[2:]).results(60) == [0.25, 0.0625]
    assert total(inverted[2:]).result(60) == 0.75
    assert square(inverted[3]).result(60) == 0.0625
    with pytest.raises(DependencyFailed, match="ZeroDivisionError"):
        total(inverted).result(60)


def test_what_failed_of_a_chunk_is_retried_alone(cluster: Cluster, tmp_path: Path) -> None:
    @task
    def once(x: int) -> int:
        mark = tmp_path / str(x)
        if x % 2 and not mark.exists():
            mark.touch()
            raise RuntimeError("not yet")
        return x

    array = once.map(range(5), chunk_size=5)
    assert array.retry_failed(60).results(60) == [1, 3]


def test_chunks_are_found_again_from_another_handle(cluster: Cluster) -> None:
    array = square.map(range(5), chunk_size=2)
    again = cluster.job(array.key)
    assert again.results(60) == [0, 1, 4, 9, 16]  # type: ignore[union-attr]
    assert cluster.job(array[4].key).result(60) == 16  # type: ignore[union-attr]
