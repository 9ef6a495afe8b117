"""Failed calls, submitted once more: the same calls, as a new submission, with other options if need be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slurm import Cluster, JobArray, Retry, current_job, task
from slurm.errors import DependencyFailed


@task
def flaky(marks: Path, x: int) -> int:
    """Fails the first time for odd numbers."""
    mark = marks / str(x)
    if x % 2 and not mark.exists():
        mark.touch()
        raise RuntimeError(f"not yet {x}")
    return x * x


@task
def minus(x: int) -> int:
    return -x


@task
def cpus() -> str | None:
    return os.getenv("SLURM_CPUS_PER_TASK")


def test_only_what_failed_runs_again_and_the_old_array_stays(cluster: Cluster, tmp_path: Path) -> None:
    array = flaky.starmap([(tmp_path, x) for x in range(6)])
    assert [job.index for job in array.failed(60)] == [1, 3, 5]
    again = array.retry_failed()
    assert again.results(60) == [1, 9, 25]
    assert again.key != array.key
    assert len(again.retry_failed()) == 0
    assert isinstance(array[3].exception(), RuntimeError)


def test_a_job_is_retried_with_other_options_over_those_it_had(cluster: Cluster) -> None:
    first = cpus.with_options(cpus_per_task=1, time="5")()
    assert first.result(60) == "1"
    second = first.retry(cpus_per_task=2)
    assert second.result(60) == "2"
    assert second.retry().result(60) == "2"


def test_what_failed_for_its_upstream_succeeds_once_that_was_mended(cluster: Cluster, tmp_path: Path) -> None:
    upstream = flaky.starmap([(tmp_path, x) for x in (1, 2)])
    downstream = minus.map(upstream)
    assert downstream[1].result(60) == -4
    assert isinstance(downstream[0].exception(60), DependencyFailed)
    with pytest.raises(DependencyFailed):  # the same calls refer to the same upstream, which stays failed
        downstream.retry_failed().results(60)
    assert minus.map(upstream.retry_failed()).results(60) == [-1]


def test_an_element_can_be_retried_from_another_process(cluster: Cluster, tmp_path: Path) -> None:
    array = flaky.starmap([(tmp_path, 7), (tmp_path, 8)])
    array.failed(60)
    found = cluster.job(array[0].key)
    again = found.retry()  # type: ignore[union-attr]
    assert again.result(60) == 49
    assert again.key.endswith("[0]")


@task(retry=Retry(times=1, on=ValueError))
def late(mark: Path, good: bool) -> None:
    """Ends with its second attempt."""
    if current_job().attempt == 2:
        mark.touch()
    if current_job().attempt == 1 or not good:
        raise ValueError("not yet")


@task
def seen(mark: Path) -> bool:
    return mark.exists()


def test_what_runs_after_the_end_of_a_job_waits_for_its_last_attempt(cluster: Cluster, tmp_path: Path) -> None:
    ends = {
        (good, on): seen.after(late(tmp_path / f"{good}-{on}", good), on=on)(tmp_path / f"{good}-{on}")
        for good in (True, False)
        for on in ("any", "failure")
    }
    assert isinstance(ends.pop((True, "failure")).exception(120), DependencyFailed)
    assert [job.result(120) for job in ends.values()] == [True, True, True]


def test_the_latest_of_an_array_is_what_counts_after_retries(cluster: Cluster, tmp_path: Path) -> None:
    marks = [tmp_path / name for name in ("first", "second")]
    for path in marks:
        path.mkdir()
    array = flaky.starmap([(marks[0], x) for x in (1, 2, 3, 4)])
    array.exceptions(60)
    assert array.latest() == array
    array[2].retry().result(60)
    again = array[0:1].retry_failed()
    fresh = Cluster(cluster.url).job(array.key)
    assert isinstance(fresh, JobArray)
    latest = fresh.latest()
    assert latest.results(60) == [1, 4, 9, 16]
    assert [job.key for job in latest] == [f"{again.key}[0]", f"{array.key}[1]", latest[2].key, f"{array.key}[3]"]
    assert [row["result"] for row in latest.table()] == [1, 4, 9, 16]
    assert latest.summary() == "flaky: 4 jobs, 4 COMPLETED"
    assert array[0].latest() == again[0]
    third = again.latest()[0].retry()  # a retry of a retry
    assert array[0].latest() == third
    assert array[::-1].latest()[3] == third
    assert array[:0].latest() == array[:0]
