"""What people try and this library does not have: each error says what to write, and has the type that Python gives."""

from __future__ import annotations

import copy
import math
import pickle
import re
import traceback
from collections.abc import Callable, Iterable, Sized
from typing import TYPE_CHECKING, Any

import pytest

from slurm import Cluster, task

if TYPE_CHECKING:
    from slurm import Job, JobArray


@task
def double(x: int) -> int:
    return 2 * x


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster("local", root=tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def job(here: Cluster) -> Job[int]:
    return double.on(here)(1)


@pytest.fixture(scope="module")
def array(here: Cluster) -> JobArray[int]:
    return double.on(here).map([1, 2])


def last_file(error: BaseException) -> str:
    return traceback.extract_tb(error.__traceback__)[-1].filename


def refused(what: Callable[[], object], kind: type[Exception], words: str) -> None:
    """The error has these words, is on one line, and its traceback ends at the line that made it."""
    with pytest.raises(kind, match=re.escape(words)) as caught:
        what()
    assert "\n" not in str(caught.value)
    assert last_file(caught.value) == __file__


ON_A_JOB: dict[str, tuple[Callable[[Any], object], str]] = {
    "+": (lambda job: job + 1, "write job.result() + …"),
    "sum": (lambda job: sum([job, job]), "write … + job.result()"),
    "*": (lambda job: job * 2, "write job.result() * …"),
    "**": (lambda job: 2**job, "write … ** job.result()"),
    "minus": (lambda job: -job, "write -job.result()"),
    "<": (lambda job: job < 1, "write job.result() < …"),
    "max": (lambda job: max(job, job), "write job.result() > …"),
    "[]": (lambda job: job["a"], "write job.result()['a']"),
    "for": (list, "or iterate over job.result()"),
    "unpacking": (lambda job: [*job], "or iterate over job.result()"),
    "in": (lambda job: 3 in job, "or iterate over job.result()"),
    "float": (float, "write float(job.result())"),
    "int": (int, "write int(job.result())"),
    "round": (lambda job: round(job, 2), "write round(job.result())"),
    "math": (math.sqrt, "write float(job.result())"),
    "range": (range, "write job.result()"),
    "format": (lambda job: f"{job:.2f}", "write {job.result():.2f}"),
}


@pytest.mark.parametrize("name", ON_A_JOB)
def test_a_job_is_not_its_result(job: Job[int], name: str) -> None:
    what, words = ON_A_JOB[name]
    refused(lambda: what(job), TypeError, words)


ON_AN_ARRAY: dict[str, tuple[Callable[[Any], object], str]] = {
    "+": (lambda array: array + array, "write array.results() + …"),
    "[]": (lambda array: array["a"], "write array[0].result()['a']"),
    "[.5]": (lambda array: array[0.5], "an array has jobs by number"),
    "abs": (abs, "write abs(array.results())"),
}


@pytest.mark.parametrize("name", ON_AN_ARRAY)
def test_an_array_is_not_its_results(array: JobArray[int], name: str) -> None:
    what, words = ON_AN_ARRAY[name]
    refused(lambda: what(array), TypeError, words)


ATTRIBUTES = {
    "get": ("write job.result()", "write array.results()"),
    "result": (None, "write array.results()"),
    "results": ("write job.result()", None),
    "wait": ("slurm.wait([job], timeout=…)", "slurm.wait(array, timeout=…)"),
    "get_result": ("write job.result()", "write array.results()"),
    "exception": (None, "write array.exceptions()"),
    "state": ("write job.status().state", "write array.states()"),
    "remote": ("write job.retry()", "Write f.map(array)"),
    "submit": ("write job.retry()", "Write f.map(array)"),
    "delay": ("write job.retry()", "Write f.map(array)"),
    "stdout": ("write job.logs()", "write array.logs()"),
    "kill": ("write job.cancel()", "write array.cancel()"),
    "shape": ("write job.result().shape", "write [job.shape for job in array]"),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_of_others_says_what_to_write(job: Job[int], array: JobArray[int], name: str) -> None:
    for handle, words in zip((job, array), ATTRIBUTES[name], strict=True):
        assert hasattr(handle, name) is (words is None)
        if words is not None:
            refused(lambda handle=handle: getattr(handle, name), AttributeError, words)  # type: ignore[misc]


def test_what_python_and_notebooks_look_up_is_as_before(job: Job[int], array: JobArray[int]) -> None:
    for handle in (job, array):
        for name in ("_ipython_canary_method_should_not_exist_", "_repr_png_", "__array__", "__deepcopy__", "__call__"):
            assert not hasattr(handle, name)
        assert copy.copy(handle) == copy.deepcopy(handle) == pickle.loads(pickle.dumps(handle)) == handle
        assert not callable(handle)
    assert not isinstance(job, Iterable)
    assert isinstance(array, Sized)
    assert array
    assert f"{job}" == repr(job)
    assert job != 1
    assert len({job, copy.copy(job)}) == 1
    assert job  # as any future


def test_a_property_keeps_its_own_error(job: Job[int]) -> None:
    with pytest.raises(AttributeError, match=r"use slurm\.wait"):
        _ = job._condition


def test_a_handle_without_its_attributes_has_a_plain_error() -> None:
    from slurm import Job

    with pytest.raises(AttributeError, match="no attribute '_place'"):
        _ = Job.__new__(Job)._place
