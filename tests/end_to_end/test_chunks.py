"""Many short calls in one element of the array: the same futures, the same errors, one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slurm import Cluster, JobContext, current_job, task
from slurm.errors import DependencyFailed, JobCancelled, ResultNotSaved, TaskExited
from waiting import until


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
    assert len(list(Path(array.directory, "outcomes").glob("*.json"))) == 3
    assert array.summary() == "square: 10 jobs in 3 chunks, 10 COMPLETED"


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


# Side by side, by `workers`.


@task
def meet(place: Path, x: int, others: int) -> int:
    """Return once so many have come to the same place."""
    (place / str(x)).touch()
    end = time.monotonic() + 30
    while len(list(place.iterdir())) < others:
        assert time.monotonic() < end, "the others didn't come"
        time.sleep(0.01)
    return x


@pytest.mark.parametrize("chunk_size", [None, 7])
def test_workers_make_calls_of_one_element_side_by_side(
    cluster: Cluster, tmp_path: Path, chunk_size: int | None
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    array = meet.map([place] * 7, range(7), [3] * 7, chunk_size=chunk_size, workers=3)
    assert array.results(60) == list(range(7))
    assert len({job.job_id for job in array}) == (3 if chunk_size is None else 1)
    assert array.summary() == f"meet: 7 jobs in {'3 chunks' if chunk_size is None else '1 chunk'}, 7 COMPLETED"


@task
def end(how: str) -> str:
    print(f"this call: {how}")  # in one piece: others print, too
    if how.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[how])
    if how == "_exit":
        os._exit(5)
    if how == "exit":
        sys.exit(3)
    if how == "raise":
        raise ValueError(how)
    return how


@pytest.mark.parametrize("workers", [1, 3])
def test_a_call_that_ends_its_worker_fails_alone(cluster: Cluster, workers: int) -> None:
    hows = ["a", "SIGKILL", "b", "_exit", "raise", "SIGSEGV", "exit", "c"]
    array = end.with_options(workers=workers).map(hows, chunk_size=8)
    errors = array.exceptions(60)
    assert [how for how, error in zip(hows, errors, strict=True) if error is None] == ["a", "b", "c"]
    found = [(e.exit_code, e.signal) for e in errors if isinstance(e, TaskExited)]
    assert found == [(137, signal.SIGKILL), (5, None), (139, signal.SIGSEGV), (3, None)]
    assert isinstance(errors[4], ValueError)
    assert [array[i].result() for i in (0, 2, 7)] == ["a", "b", "c"]
    log = array[0].logs()  # of several that print at once, the ends of lines may come later than the lines
    assert [log.count(f"this call: {how}") for how in hows] == [1] * len(hows)
    again = array.retry_failed(60, workers=2).exceptions(60)
    assert [type(error) for error in again] == [TaskExited, TaskExited, ValueError, TaskExited, TaskExited]


@pytest.mark.parametrize(("workers", "share"), [(1, 2), (2, 1), (3, 1)])
def test_a_worker_knows_its_call_and_its_share_of_the_cpus(
    cluster: Cluster, workers: int, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task(cpus_per_task=2)
    def where(_: int, ctx: JobContext) -> tuple[int, int, int, str | None]:
        return ctx.index, current_job().index, ctx.cpus, os.environ.get("OMP_NUM_THREADS")

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = where.map(range(5), chunk_size=3, workers=workers).results(60)
    assert found == [(i, i, share, str(share)) for i in range(5)]
    unset = where.with_options(cpus_per_task=None).map(range(4), workers=4).results(60)
    assert [int(threads or 0) for *_, threads in unset] == [cpus for *_, cpus, _ in unset]


@task(workers=8)
def double(x: int) -> int:
    return 2 * x


def test_workers_mean_nothing_to_a_single_call_and_no_more_start_than_there_are_calls(cluster: Cluster) -> None:
    assert double(4).result(60) == 8
    assert double.map(range(3)).results(60) == [0, 2, 4]
    assert double.map(range(3), chunk_size=1).results(60) == [0, 2, 4]
    assert double.map(range(6), chunk_size=2).results(60) == [0, 2, 4, 6, 8, 10]


def test_an_executor_folds_calls_as_its_options_say_unless_it_is_told_otherwise(cluster: Cluster) -> None:
    def where(_: int) -> tuple[str | None, int]:
        return current_job().job_id, os.getpid()

    with cluster.executor(chunk_size=6, workers=2) as executor:
        together = list(executor.map(where, range(6)))
        apart = list(executor.map(where, range(6), chunksize=3))
    assert len({id_ for id_, _ in together}) == 1
    assert len({id_ for id_, _ in apart}) == 2
    assert len(set(together)) <= 2


def test_nothing_of_a_cancelled_element_lives_on(cluster: Cluster, tmp_path: Path) -> None:
    """Neither workers that won't hear of SIGTERM nor what they have started."""

    @task
    def insist(place: Path, x: int) -> None:
        child = subprocess.Popen(["sleep", "600"])
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (place / str(x)).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)

    place = tmp_path / "place"
    place.mkdir()
    array = insist.map([place] * 3, range(3), workers=3)
    until(lambda: len(_numbers(place)) == 6)
    array.cancel()
    assert {type(error) for error in array.exceptions(60)} == {JobCancelled}
    until(lambda: not any(Path(f"/proc/{number}/cmdline").exists() for number in _numbers(place)))


def _numbers(place: Path) -> list[int]:
    return [int(number) for path in place.iterdir() for number in path.read_text().split()]
