"""CPython's own tests of executors on a pool: those of submitting, mapping, waiting and shutting down.

They are in the package `test` of Python, which distributions leave out or package separately, such as Debian's
libpython3-testsuite. SLURMTASKS_CPYTHON_TESTS names the directory of that package if it is elsewhere.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

import pytest
import test

from slurm import Cluster

if TYPE_CHECKING:
    from pathlib import Path

    from slurm.clusters.pool import Pool

test.__path__.extend(filter(None, [os.environ.get("SLURMTASKS_CPYTHON_TESTS")]))

_SUITES = {
    "ExecutorTest": "executor",
    "WaitTests": "test_wait",
    "AsCompletedTests": "test_as_completed",
    "ExecutorShutdownTest": "test_shutdown",
}
_DIFFER = {
    "test_cancel_futures",  # a job that was cancelled raises JobCancelled
    "test_hang_gh83386",  # these start a program that imports the executor from concurrent.futures
    "test_interpreter_shutdown",
    "test_submit_after_interpreter_shutdown",
}


def _suite(name: str) -> Any:
    """The class with the tests of this name: from Python 3.12 on in a module of its own, before that in one of all."""
    for module in (f"test.test_concurrent_futures.{_SUITES[name]}", "test.test_concurrent_futures"):
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError:
            continue
    return None


def _cases() -> list[tuple[str, str]]:
    found = {name: suite for name in _SUITES if (suite := _suite(name))}
    return [(suite, each) for suite in found for each in dir(found[suite]) if each.startswith("test_")]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root: Path = tmp_path_factory.mktemp("cpython")
    with Cluster("local", root=root) as cluster, cluster.pool(workers=5, cpus_per_task=1, time="20:00") as pool:
        yield pool


def test_the_tests_of_cpython_are_here() -> None:
    if not _cases():
        pytest.skip("this Python has no test.test_concurrent_futures: install its tests, or see the docstring")


@pytest.mark.parametrize(("suite", "name"), [case for case in _cases() if case[1] not in _DIFFER])
def test_cpython(suite: str, name: str, pool: Pool) -> None:
    import unittest

    executor = pool.executor()

    def set_up(case: Any) -> None:
        case.executor = executor

    own = {"worker_count": 5, "executor_type": staticmethod(Cluster("local").executor), "setUp": set_up}
    case = type(suite, (_suite(suite), unittest.TestCase), own)(name)
    try:
        result = unittest.TestResult()
        case.run(result)
    finally:
        executor.shutdown()
    assert [trace for _, trace in (*result.errors, *result.failures)] == []
    assert result.testsRun == 1
