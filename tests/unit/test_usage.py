"""What people try and this library does not have: each error says what to write, and has the type that Python gives."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import re
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sized
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from slurm import Cluster, task
from slurm.errors import (
    LoadFailed,
    NoActiveCluster,
    NoSuchJob,
    NotPicklable,
    OptionError,
    ResultNotSaved,
    TransportError,
)
from slurm.testing import InlineCluster

if TYPE_CHECKING:
    from pathlib import Path

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
    if sys.version_info >= (3, 11):  # before, a frame of `slurm.tracebacks` stays
        assert last_file(caught.value) == __file__


ON_A_JOB: dict[str, tuple[Callable[[Any], object], str]] = {
    "+": (lambda job: job + 1, "write job.result() + …"),
    "sum": (lambda job: sum([job, job]), "write … + job.result()"),
    "*": (lambda job: job * 2, "write job.result() * …"),
    "**": (lambda job: 2**job, "write … ** job.result()"),
    "minus": (lambda job: -job, "write -job.result()"),
    "<": (lambda job: job < 1, "write job.result() < …"),
    "max": (lambda job: max(job, job), "write job.result() > …"),
    "[]": (lambda job: job["a"] + 1, "write job.result() + …"),
    "for": (list, "'Job' object is not iterable"),
    "unpacking": (lambda job: [*job], "'Job' object is not iterable"),
    "in": (lambda job: 3 in job, "'Job' is not"),
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


@task
def returns(kind: str) -> Any:
    import socket
    import sqlite3
    import threading

    made: dict[str, Callable[[], Any]] = {
        "generator": lambda: (x for x in [1]),
        "file": lambda: open("/etc/passwd", "rb"),  # noqa: SIM115 - it is what people return
        "writer": lambda: open("/dev/null", "w"),  # noqa: SIM115 - as above
        "lock": threading.Lock,
        "socket": socket.socket,
        "database": lambda: sqlite3.connect(":memory:"),
    }
    return made[kind]()


RETURNED = {
    "generator": "Return list(…) of its values",
    "file": "Return the path of the file, or what was read from it",
    "writer": "Return the path of the file, or what was read from it",
    "lock": "Return the data without it: processes cannot share a lock",
    "socket": "Return what was read from it",
    "database": "Return what was read from it",
}


@pytest.fixture(scope="module")
def returned(here: Cluster) -> JobArray[Any]:
    return returns.on(here).map(list(RETURNED))


@pytest.mark.parametrize("number", range(len(RETURNED)), ids=list(RETURNED))
def test_what_cannot_be_returned_says_what_to_return(returned: JobArray[Any], number: int) -> None:
    error = returned[number].exception(60)
    assert isinstance(error, ResultNotSaved)
    assert f". {list(RETURNED.values())[number]}" in str(error)


@task
def imports(name: str) -> None:
    __import__(name)


def test_a_missing_module_says_what_the_job_ran_in(here: Cluster) -> None:
    error = imports.on(here)("no_such_module").exception(60)
    assert isinstance(error, ModuleNotFoundError)
    _, advice = error.__notes__
    assert f"The job ran with {sys.executable}" in advice
    assert "install the package of this module there" in advice


class ImportsWhenLoaded:
    def __reduce__(self) -> Any:
        return __import__, ("no_such_module",)


def test_a_missing_module_of_an_argument_says_what_the_job_ran_in(here: Cluster) -> None:
    error = repr_of.on(here)(ImportsWhenLoaded()).exception(60)
    assert isinstance(error, LoadFailed)
    assert f"'no_such_module'. The job ran with {sys.executable}" in str(error)


@task
def repr_of(value: object) -> str:
    return repr(value)


@task
def calls_another(x: int) -> int:
    return double(x).result()


def test_a_task_that_calls_a_task_is_told_of_workflow(here: Cluster) -> None:
    error = calls_another.on(here)(1).exception(60)
    assert isinstance(error, NoActiveCluster)
    assert "the task calls_another cannot submit double(…). Make calls_another a @workflow" in str(error)


WRONG: dict[str, Any] = {"partitio": "x"}

CALLS: dict[str, tuple[Callable[[Any], object], type[Exception], str]] = {
    "map(3)": (lambda f: f.map(3), TypeError, "Write double(3) for one call, or double.map([3])"),
    "map(…, 3)": (lambda f: f.map([1], 3), TypeError, "Write double.map(…, itertools.repeat(3))"),
    "map()": (lambda f: f.map(), TypeError, "needs at least one iterable"),
    "starmap(3)": (lambda f: f.starmap(3), TypeError, "or double.starmap([(3,)])"),
    "starmap([1])": (lambda f: f.starmap([1]), TypeError, "write double.map(…)"),
    "too many": (lambda f: f(1, 2), TypeError, "double(x): too many positional arguments"),
    "option": (lambda f: f.with_options(partitio="x"), OptionError, "did you mean partition?"),
    "on": (lambda f: f.after(3, on="never"), ValueError, 'one of "success", "failure", "any"'),
    "after": (lambda f: f.after(3.5), TypeError, "after() takes jobs"),
    "lock": (lambda f: f(threading.Lock()), NotPicklable, "Create it in the task"),
    "remote": (lambda f: f.remote(1), AttributeError, "write double(…), which submits a call"),
    "delay": (lambda f: f.delay(1), AttributeError, "write double(…), which submits a call"),
    "submit": (lambda f: f.submit(1), AttributeError, "write double(…), which submits a call"),
    "fn": (lambda f: f.fn(1), AttributeError, "the plain function is double.unwrapped"),
    "partial": (lambda f: f.partial(1), AttributeError, "task(functools.partial(double.unwrapped, …))"),
    "executor.submit(partial)": (
        lambda f: Cluster("local").executor().submit(partial(f, 1)),
        TypeError,
        "write functools.partial(double.unwrapped, …)",
    ),
    "task(partial)": (lambda f: task(partial(f, 1)), TypeError, "functools.partial(double.unwrapped, …)"),
    "task(option)": (lambda _: task(**WRONG), OptionError, "did you mean partition?"),
    "task(class)": (lambda _: task(int), TypeError, "@task takes plain functions"),
    "Cluster(partition)": (
        lambda _: Cluster("slurm", partition="p"),  # type: ignore[call-arg]
        TypeError,
        "Cluster(…, options={'partition': …})",
    ),
    "Cluster(labels)": (
        lambda _: Cluster("slurm", labels={}),  # type: ignore[call-arg]
        TypeError,
        "Cluster(…, options={'labels': …})",
    ),
    "Cluster(host)": (lambda _: Cluster(host="login"), TypeError, "slurm+ssh://user@host"),  # type: ignore[call-arg]
    "Cluster(pyhton)": (lambda _: Cluster(pyhton="p"), TypeError, "did you mean python?"),  # type: ignore[call-arg]
    "Cluster(cpus)": (lambda _: Cluster(cpus=4), TypeError, "options={…}: cpus_per_task=4"),  # type: ignore[call-arg]
    "Cluster(queue)": (lambda _: Cluster(queue="q"), TypeError, "options={…}: partition='long'"),  # type: ignore[call-arg]
    "Cluster(x)": (lambda _: Cluster(x=1), TypeError, "it takes url, root, python"),  # type: ignore[call-arg]
    "Cluster({})": (
        lambda _: Cluster("slurm", {"mem": "4G"}),  # type: ignore[arg-type,call-arg]
        TypeError,
        "takes its other arguments by name",
    ),
    "Cluster(options)": (lambda _: Cluster(options={"mem": "x"}), OptionError, "option mem"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_written_otherwise_says_what_to_write(here: Cluster, name: str) -> None:
    what, kind, words = CALLS[name]
    refused(lambda: what(double.on(here)), kind, words)


ON_A_CLUSTER: dict[str, tuple[Callable[[Any], object], type[Exception], str]] = {
    "submit(f, 1)": (lambda cluster: cluster.submit(double, 1), TypeError, "Write f.on(cluster)(…)"),
    "submit(f)": (lambda cluster: cluster.submit(double), TypeError, "Write f.on(cluster)(…)"),
    "plan(f, 1)": (lambda cluster: cluster.plan(double, 1), TypeError, "write double.on(cluster).plan(…)"),
    "plan(f, 1, 2)": (lambda cluster: cluster.plan(double, 1, 2), TypeError, "write double.on(cluster).plan(…)"),
    "plan(f)": (lambda cluster: cluster.plan(double), TypeError, "write double.on(cluster).plan(…)"),
    "submit(print, 1)": (lambda cluster: cluster.submit(print, 1), TypeError, "cluster.executor().submit(f, …)"),
    "map": (lambda cluster: cluster.map(double, [1]), AttributeError, "write f.on(cluster).map(…)"),
    "gather": (lambda cluster: cluster.gather([]), AttributeError, "from slurm import gather"),
    "partition": (lambda cluster: cluster.partition, AttributeError, "write cluster.options.get('partition')"),
}


@pytest.mark.parametrize("name", ON_A_CLUSTER)
def test_a_call_of_a_cluster_that_is_written_otherwise_says_what_to_write(here: Cluster, name: str) -> None:
    what, kind, words = ON_A_CLUSTER[name]
    refused(lambda: what(here), kind, words)


def test_signatures_and_lookups_of_a_cluster_and_a_task_are_as_before(here: Cluster) -> None:
    assert list(inspect.signature(Cluster).parameters)[:3] == ["url", "root", "python"]
    assert list(inspect.signature(double).parameters) == ["x"]
    assert list(inspect.signature(Cluster.submit).parameters) == ["self", "of", "calls", "mapped"]
    for owner in (here, double):
        assert not hasattr(owner, "_ipython_canary_method_should_not_exist_")
        assert not hasattr(owner, "map_async")
    assert pickle.loads(pickle.dumps(double)) is double
    assert copy.copy(double.with_options(mem="1G")).options == double.with_options(mem="1G").options


def test_an_error_in_the_users_own_code_keeps_its_frames(here: Cluster) -> None:
    def items() -> Iterable[int]:
        yield 1
        double.with_options(partitio="x")  # type: ignore[call-overload]

    with pytest.raises(OptionError) as caught:
        double.on(here).map(items())
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1 if sys.version_info >= (3, 11) else -2] == "items"  # before, a frame of the library stays


def test_development_mode_shows_all_frames(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import slurm\nslurm.Cluster(options={'mem': 'x'})\n")
    for flags, shown in (((), False), (("-X", "dev"), True)):
        done = subprocess.run([sys.executable, *flags, program], capture_output=True, text=True, check=False)
        assert ("OptionError: option mem" in done.stderr, "values.py" in done.stderr) == (True, shown)


def test_what_the_user_was_handling_stays_in_the_traceback() -> None:
    try:
        raise KeyError("theirs")
    except KeyError:
        with pytest.raises(OptionError) as caught:
            Cluster(options={"mem": "x"})
    assert isinstance(caught.value.__context__, KeyError)


def test_advice_is_loaded_only_for_an_error() -> None:
    program = """
import sys, slurm
before = {name for name in sys.modules if name.startswith("slurm.")}
from slurm import Cluster, Job, JobArray, task
task(print)
print(before, "slurm.usage" in sys.modules, hasattr(Cluster("local"), "map"), "slurm.usage" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set() False False True\n"


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"chunksize": 2}, "'chunksize': did you mean chunk_size?"),
        ({"chunk_size": 2}, ". chunk_size is an argument of f.map and f.starmap"),
        ({"time": "1:00"}, ". Options are given by f.with_options(time=…)"),
        ({"valeu": 2}, "did you mean value?"),
        ({"other": 2}, "got an unexpected keyword argument 'other'"),
    ],
)
def test_an_unknown_argument_of_a_call_has_advice(arguments: dict[str, Any], advice: str) -> None:
    @task
    def f(value: int = 0) -> int:
        return value

    with InlineCluster(), pytest.raises(TypeError) as caught:
        f(**arguments)
    assert str(caught.value).endswith(advice)


def test_a_misspelt_argument_of_a_map_has_advice() -> None:
    @task
    def f(value: int = 0) -> int:
        return value

    with InlineCluster(), pytest.raises(TypeError, match=r"'chunksize': did you mean chunk_size\?"):
        f.map([1], chunksize=2)


def test_an_error_of_a_root_a_job_or_an_open_file_ends_at_the_users_line(tmp_path: Path) -> None:
    @task
    def f(value: object) -> object:
        return value

    (tmp_path / "file").touch()
    cluster = Cluster(f"local://{tmp_path}/file")
    with (tmp_path / "file").open("wb") as binary, (tmp_path / "file").open("w") as text:
        for call in (
            lambda: f.on(cluster)(1),
            lambda: cluster.job("nothere"),
            lambda: f.on(cluster)(binary),
            lambda: f.on(cluster)(text),
        ):
            with pytest.raises((TransportError, NoSuchJob, NotPicklable)) as caught:
                call()
            shown = "".join(traceback.format_exception(caught.value))
            assert shown.count("Traceback") == 1
            assert "cloudpickle" not in shown
            assert sum("/slurm/" in line for line in shown.splitlines()) <= (sys.version_info < (3, 11))
