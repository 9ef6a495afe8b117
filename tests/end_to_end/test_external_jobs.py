"""`.after("123")`: jobs that another program has submitted, on `local`, on Slurm and over SSH."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from slurm import Cluster, DependencyFailed, task
from slurm.errors import SubmissionError

NEVER_GIVEN = "99999999"


@task
def until_there(path: str, fail: bool = False) -> float:  # noqa: FBT002
    while not Path(path).exists():
        time.sleep(0.05)
    if fail:
        raise ValueError(path)
    return time.time()


@task
def now(x: int) -> float:
    return time.time() + 0 * x


@pytest.fixture
def other(cluster: Cluster, tmp_path: Path) -> Cluster:
    """A client of the same scheduler whose submissions nobody here knows."""
    return Cluster(cluster.url, root=tmp_path / "other root")


def number(job_id: str | None) -> str:
    """The scheduler's id of a whole job."""
    assert job_id is not None
    return job_id.partition("_")[0]


def test_calls_wait_for_a_job_of_another_program(cluster: Cluster, other: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = until_there.on(other)(str(gate))
    after = now.after(number(first.job_id))
    waiting, some = after(1), after.map([1, 2])
    time.sleep(1.0)
    assert not waiting.done()
    gate.touch()
    ended = first.result(60)
    assert min(waiting.result(60), *some.results(60)) >= ended
    assert after(1).result(60) >= ended  # it has ended as wanted
    with pytest.raises(SubmissionError, match=r"waits for the failure of job .* which ended as COMPLETED"):
        now.after(number(first.job_id), on="failure")(1)


def test_calls_after_a_job_that_fails_are_not_run(cluster: Cluster, other: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = until_there.on(other)(str(gate), fail=True)
    id_ = number(first.job_id)
    waiting, either = now.after(id_)(1), now.after(id_, on="any")(1)
    rescue = now.after(f"{id_}_0", on="failure")(1)
    gate.touch()
    assert isinstance(first.exception(60), ValueError)
    error = waiting.exception(60)
    assert isinstance(error, DependencyFailed)
    assert f"it waited for jobs {id_} (success)" in str(error)
    assert isinstance(rescue.result(60) + either.result(60), float)
    with pytest.raises(SubmissionError, match=f"waits for the success of job {id_}, which ended as FAILED"):
        now.after(id_)(1)


def test_an_unknown_job_is_refused_and_nothing_is_queued(cluster: Cluster) -> None:
    assert now(1).result(60) > 0
    jobs = Path(now(1).directory).parent
    before = sorted(os.listdir(jobs))
    with pytest.raises(SubmissionError, match=f"now cannot wait for job {NEVER_GIVEN}: .* does not know it"):
        now.after(int(NEVER_GIVEN))(1)
    with pytest.raises(SubmissionError, match="expected the id of a job of"):
        now.after("job 7")(1)
    assert sorted(os.listdir(jobs)) == before
