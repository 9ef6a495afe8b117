"""Items of a job's result as arguments: job["loss"], job[0]["a"]."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any

import pytest

from slurm import Cluster, task
from slurm.errors import DependencyFailed
from slurm.jobs.job_item import JobItem


@task
def study(n: int) -> dict[str, Any]:
    return {"loss": n / 2, "history": [{"epoch": i} for i in range(n)], "pair": (n, -n)}


@task
def add(*values: Any, **more: Any) -> Any:
    return [values, more]


@pytest.fixture
def here() -> Any:
    with Cluster("inline") as cluster:
        yield cluster


def test_an_item_is_an_argument_at_any_depth(here: Cluster) -> None:
    job = study(3)
    found = add(job["loss"], [job["history"][2]["epoch"]], pair={"x": job["pair"][1]}).result()
    assert found == [(1.5, [2]), {"pair": {"x": -3}}]


def test_items_of_the_jobs_of_a_map(here: Cluster) -> None:
    jobs = study.map([2, 4])
    assert add(jobs[1]["loss"], jobs[-2]["pair"][0]).result() == [(2.0, 2), {}]
    assert add.map([job["loss"] for job in jobs]).results() == [[(1.0,), {}], [(2.0,), {}]]


def test_an_item_has_a_result_and_is_the_same_in_another_process(here: Cluster) -> None:
    item = study(3)["history"][1]
    assert item.result() == {"epoch": 1}
    other = pickle.loads(pickle.dumps(item))
    assert isinstance(other, JobItem)
    assert other == item
    assert hash(other) == hash(item)
    assert other.result() == {"epoch": 1}
    assert repr(item).endswith("['history'][1]>")


def test_arguments_of_a_call_name_the_item(here: Cluster) -> None:
    first = study(3)
    second = add(first["loss"])
    found: Any = here.job(second.key)
    assert first["loss"] in [value for given in found.arguments().values() for value in given]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("lost",), r"the result has no item 'lost': it has 'loss', 'history', 'pair'"),
        (("history", 7), r"the result\['history'\] has no item 7: it has 3 items"),
        (("loss", 0), r"the result\['loss'\] has no item 0: it is a float"),
    ],
)
def test_a_missing_item_is_told_with_those_that_there_are(here: Cluster, path: tuple[Any, ...], words: str) -> None:
    job = study(3)
    item = job
    for key in path:
        item = item[key]
    with pytest.raises(DependencyFailed, match=words):
        add(item).result()
    with pytest.raises(KeyError, match=words):
        item.result()


def test_a_job_is_not_iterated(here: Cluster) -> None:
    job = study(3)
    assert not isinstance(job, Iterable)
    with pytest.raises(TypeError):
        iter(job)
    with pytest.raises(TypeError):
        _, _ = job  # type: ignore[misc]
    with pytest.raises(TypeError, match=r"write job\.result\(\) \+"):
        _ = job["loss"] + 1


def test_a_call_with_an_item_is_reused(here: Cluster) -> None:
    known = study.with_options(reuse=True)
    again = add.with_options(reuse=True)
    first = again(known(3)["loss"])
    assert first.result() == [(1.5,), {}]
    assert again(known(3)["loss"]).key == first.key
    assert again(known(3)["pair"]).key != first.key
