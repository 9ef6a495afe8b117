"""What a user's program does, the same on every URL: call, map, chain, wait, cancel, come back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import importlib
import multiprocessing
import operator
import os
import pickle
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from slurm import (
    FIRST_COMPLETED,
    Cluster,
    Job,
    JobArray,
    JobContext,
    JobState,
    as_completed,
    cancel,
    current_job,
    gather,
    task,
    wait,
)
from slurm.errors import JobCancelled
from waiting import remove, until


@task
def square(x: int) -> int:
    return x * x


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def add(x: int, y: int = 0) -> int:
    return x + y


@task
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_a_call_returns_a_job_and_the_job_its_result(cluster: Cluster) -> None:
    job = square(7)
    assert job.result(60) == 49
    assert job.done()
    assert job.exception() is None
    assert not job.cancelled()
    assert job.status().state is JobState.COMPLETED


def test_map_zips_its_iterables_into_one_array_with_one_submission(cluster: Cluster) -> None:
    before = cluster.command_counts().get("submit", 0)
    array = add.map([1, 2, 3], (10, 20, 30, 40))
    assert array.results(60) == [11, 22, 33]
    assert cluster.command_counts()["submit"] == before + 1
    assert array.summary() == "add: 3 jobs, 3 COMPLETED"


def test_starmap_takes_tuples_and_mappings(cluster: Cluster) -> None:
    assert add.starmap([(1, 2), {"x": 3, "y": 4}, (5,)]).results(60) == [3, 7, 5]


def test_a_map_costs_the_same_files_and_commands_whatever_its_length(cluster: Cluster, root: Path) -> None:
    costs = []
    for count in (3, 300):
        before = dict(cluster.command_counts())
        array = square.map(range(count))
        spent = {kind: number - before.get(kind, 0) for kind, number in cluster.command_counts().items()}
        array.cancel()
        files = {path.name for path in Path(array.directory).iterdir() if path.is_file()}
        costs.append((files, spent["submit"]))
    assert costs[0] == costs[1]
    assert costs[0][0] == {"submission.json", "calls.pkl", "calls.idx", "script.sh", "submitted.json"}
    assert costs[0][1] == 1


def test_a_python_that_has_nothing_installed_will_do(root: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    python = tmp_path / "bare" / "bin" / "python"
    assert subprocess.run([python, "-c", "import cloudpickle"], capture_output=True, check=False).returncode != 0
    with Cluster("local", root=root, python=str(python)):
        assert task(lambda: sys.prefix)().result(60) == str(tmp_path / "bare")


def test_an_array_is_a_sequence(cluster: Cluster) -> None:
    array = square.map(range(6))
    assert len(array) == 6
    assert [job.index for job in array[1:4]] == [1, 2, 3]
    assert array[-1].result(60) == 25
    assert array[::-2].results(60) == [25, 9, 1]
    assert array[2] in array
    assert array[2] not in array[3:]
    assert sorted(job.result() for job in array.as_completed(60)) == [0, 1, 4, 9, 16, 25]
    assert array.done()


def test_an_empty_map_is_an_empty_array_and_submits_nothing(cluster: Cluster, root: Path) -> None:
    array = square.map([])
    assert (len(array), array.results(), array.done()) == (0, [], True)
    assert not list(root.glob("jobs/*/*"))


class Pair(NamedTuple):
    left: object
    right: object


@dataclasses.dataclass
class Box:
    content: object


@task
def show(value: object) -> str:
    return repr(value)


def test_placeholders_resolve_at_any_depth(cluster: Cluster) -> None:
    one, many = square(3), square.map(range(4))
    value = {"list": [one, (1, one)], "pair": Pair(one, Box(many)), "slice": many[1:3], "element": many[-1]}
    shown = show(value).result(60)
    assert shown == repr(
        {"list": [9, (1, 9)], "pair": Pair(9, Box([0, 1, 4, 9])), "slice": [1, 4], "element": 9},
    )


def test_a_closure_over_a_job_is_a_placeholder_too(cluster: Cluster) -> None:
    upstream = square(5)

    @task
    def twice() -> int:
        return 2 * upstream  # type: ignore[operator]

    assert twice().result(60) == 50


@task
def wait_for(place: Path | None) -> bool:
    while place is not None and not place.exists():
        time.sleep(0.05)
    return place is None


def test_an_array_mapped_over_an_array_waits_element_by_element(cluster: Cluster, tmp_path: Path) -> None:
    shown = show.map(wait_for.map([tmp_path / "gate", None]))
    assert shown[1].result(60) == "True"
    assert not shown[0].done()
    (tmp_path / "gate").touch()
    assert shown.results(60) == ["False", "True"]


def test_fan_out_and_in_and_finished_upstreams(cluster: Cluster) -> None:
    squares = square.map(range(5))
    assert total(squares).result(60) == 30
    assert total(squares).result(60) == 30  # the upstream has ended: settled from its outcomes
    assert show([squares[0], squares[4]]).result(60) == "[0, 16]"


def test_after_orders_jobs_that_share_no_result(cluster: Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    @task
    def write() -> None:
        time.sleep(0.5)
        mark.write_text("there")

    @task
    def read() -> str:
        return mark.read_text()

    assert read.after(write())().result(60) == "there"


def test_a_clean_up_runs_after_a_failure_only(cluster: Cluster) -> None:
    failing, fine = operator_task(1, 0), square(1)
    assert square.after(failing, on="failure")(2).result(60) == 4
    assert square.after(failing, fine, on="any")(3).result(60) == 9
    assert isinstance(failing.exception(60), ZeroDivisionError)


operator_task = task(operator.truediv)


def test_a_function_of_an_installed_module_goes_by_reference(cluster: Cluster) -> None:
    assert operator_task(1, 4).result(60) == 0.25


def test_a_function_of_the_script_may_use_tasks_by_their_plain_functions(cluster: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""\
            import sys
            from slurm import Cluster, task

            @task
            def factorial(n: int) -> int:
                return n * factorial.unwrapped(n - 1) if n else 1

            @task
            def apply(other, x):
                return other.unwrapped(x)

            with Cluster(sys.argv[1]):
                print(factorial(5).result(60), apply(factorial, 4).result(60))
            """)
    )
    done = subprocess.run([sys.executable, script, cluster.url], capture_output=True, text=True, check=False)
    assert done.stdout == "120 24\n", done.stderr


def test_lambdas_and_closures_go_by_value(cluster: Cluster) -> None:
    offset = 5
    assert task(lambda x: x + offset).map([1, 2]).results(60) == [6, 7]


_received: list[int] = []


def receive(value: int) -> None:
    _received.append(value)


def add_received(x: int) -> int:
    return x + _received[0]


@task(cpus_per_task=2)
def in_processes(method: str, numbers: list[int]) -> list[int]:
    with multiprocessing.get_context(method).Pool(2, receive, (10,)) as pool:
        return pool.map(add_received, numbers)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_in_a_task_have_its_functions_and_their_variables(cluster: Cluster, method: str) -> None:
    assert in_processes(method, [1, 2]).result(60) == [11, 12]
    assert _received == []


def test_a_loose_module_beside_the_script_goes_by_value(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "only_the_client_has_this"
    directory.mkdir()
    (directory / "loose_helpers.py").write_text("FACTOR = 3\ndef triple(x):\n    return FACTOR * x\n")
    (directory / "loose_tasks.py").write_text(
        "import loose_helpers\nfrom slurm import task\n@task\ndef work(x):\n    return loose_helpers.triple(x)\n"
    )
    monkeypatch.syspath_prepend(str(directory))
    loose_tasks = importlib.import_module("loose_tasks")
    job = loose_tasks.work(4)
    assert job.result(60) == 12


def use_a_sent_package(x: int) -> int:
    inner = importlib.import_module("sent_package.inner")
    import sent_package.inner  # type: ignore[import-not-found]

    assert inner is sent_package.inner
    result: int = sent_package.inner.work(x)
    return result


def test_modules_imported_within_a_function_are_sent(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, gate = tmp_path / "only_the_client_has_this", tmp_path / "gate"
    (directory / "sent_package").mkdir(parents=True)
    for name, source in {
        "sent_package/__init__.py": "",
        "sent_package/inner.py": "from . import factor\nimport sent_module\n"
        "def work(x):\n    return factor.VALUE * x + sent_module.ONE\n",
        "sent_package/factor.py": "VALUE = 3\n",
        "sent_module.py": "ONE = 1\ndef fail():\n    raise ValueError('here')\n",
    }.items():
        (directory / name).write_text(source)
    monkeypatch.syspath_prepend(str(directory))

    @task
    def work(x: int) -> list[int]:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return [use_a_sent_package(x), *pool.map(use_a_sent_package, [x])]

    @task
    def fail() -> None:
        from sent_module import fail  # type: ignore[import-not-found]

        fail()

    @task
    def wait_for(path: Path) -> None:
        until(path.exists)

    first = wait_for(gate)
    job, failing = work.after(first)(4), fail.after(first)()
    remove(directory)
    gate.touch()
    assert job.result(60) == [13, 13]
    with pytest.raises(ValueError, match="here") as caught:
        failing.result(60)
    assert "raise ValueError('here')" in str(caught.value.__cause__)  # the traceback shows the source that was sent
    assert not {"sent_package", "sent_module"} & set(sys.modules)


def test_context_is_injected_by_annotation_whatever_the_parameters_name(cluster: Cluster) -> None:
    @task
    def where(x: int, me: JobContext) -> tuple[str, int, str | None]:
        (me.output_directory() / "note.txt").write_text(str(x))
        assert current_job() == me
        return me.key, me.index, me.job_id

    array = where.map([1, 2])
    assert array.results(60) == [(array.key, 0, array[0].job_id), (array.key, 1, array[1].job_id)]
    assert (Path(array[1].directory) / "work" / "1" / "note.txt").read_text() == "2"


def test_logs_hold_what_the_task_printed(cluster: Cluster) -> None:
    @task
    def speak() -> None:
        print("to stdout: ünï", flush=True)
        print("to stderr", file=sys.stderr)

    job = speak()
    job.result(60)
    assert "to stdout: ünï" in job.logs()
    assert "to stderr" in job.logs()


def test_wait_and_as_completed_take_jobs_and_arrays(cluster: Cluster) -> None:
    slow, array = sleep(30), square.map(range(3))
    done, not_done = wait([slow, array], timeout=60, return_when=FIRST_COMPLETED)
    assert done
    assert slow in not_done
    assert {job.result() for job in as_completed([array], timeout=60)} == {0, 1, 4}
    assert wait([slow], timeout=0.1).not_done == {slow}
    with pytest.raises(TimeoutError, match="have not ended"):
        list(as_completed([slow], timeout=0.1))
    slow.cancel()
    assert gather(array, square(5)) == [0, 1, 4, 25]
    assert isinstance(gather(slow, return_exceptions=True)[0], JobCancelled)


def test_cancel_ends_a_running_job_and_all_of_its_processes(cluster: Cluster, tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    @task
    def family() -> None:
        child = subprocess.Popen(["sleep", "300"])
        pids.write_text(f"{os.getpid()} {child.pid}")
        child.wait()

    job = family()
    until(pids.exists)
    assert job.cancel()
    with pytest.raises(JobCancelled) as caught:
        job.result(60)
    assert isinstance(caught.value, concurrent.futures.CancelledError)
    assert caught.value.job_id == job.job_id
    assert job.cancelled()
    assert job.cancel()
    for pid in pids.read_text().split():
        until(partial(_is_gone, pid))


def test_cancelling_an_array_takes_one_command(cluster: Cluster) -> None:
    array = sleep.map([300.0] * 12)
    before = cluster.command_counts().get("cancel", 0)
    array.cancel()
    # An element that starts at this moment may miss the signal: Grid Engine sends it again after a minute.
    assert all(isinstance(error, JobCancelled) for error in array.exceptions(150))
    assert cluster.command_counts()["cancel"] == before + 1


def test_max_concurrent_limits_how_many_run_at_once(cluster: Cluster, tmp_path: Path) -> None:
    @task
    def count_me() -> int:
        mine = tmp_path / f"running-{os.getpid()}"
        mine.touch()
        time.sleep(0.3)
        running = len(list(tmp_path.glob("running-*")))
        mine.unlink()
        return running

    found = count_me.starmap([()] * 6, max_concurrent=2).results(120)
    assert 1 <= max(found) <= 2


def test_await_leaves_the_event_loop_free(cluster: Cluster) -> None:
    async def main() -> tuple[int, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        result = await square(6)
        results = await asyncio.gather(*map(_awaited, square.map([1, 2])))
        ticking.cancel()
        assert results == [1, 4]
        return result, ticks

    result, ticks = asyncio.run(main())
    assert result == 36
    assert ticks > 5


async def _awaited(job: Job[int]) -> int:
    return await job


def test_the_executor_is_the_standard_librarys(cluster: Cluster) -> None:
    with cluster.executor(time="5") as executor:
        future = executor.submit(pow, 2, 10)
        failing = executor.submit(int, "x")
        assert list(executor.map(square.unwrapped, range(4))) == [0, 1, 4, 9]
        done, _ = concurrent.futures.wait([future, failing], timeout=60)
    assert isinstance(future, concurrent.futures.Future)
    assert done == {future, failing}
    assert future.result() == 1024
    with pytest.raises(ValueError, match="invalid literal"):
        failing.result()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(pow, 1, 1)


def test_leaving_the_executor_waits_for_maps_too_and_cancelling_cancels(cluster: Cluster) -> None:
    with cluster.executor() as executor:
        results = executor.map(sleep.unwrapped, [1.0])
        begin = time.monotonic()
    assert next(results) == 1.0
    assert time.monotonic() - begin > 0.5
    executor = cluster.executor()
    future = executor.submit(time.sleep, 60)
    until(future.running)
    executor.shutdown(cancel_futures=True)
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()


def test_callbacks_are_called_once_when_a_job_ends_and_at_once_if_it_has(cluster: Cluster) -> None:
    called: list[Job[int]] = []
    job = square(2)
    job.add_done_callback(called.append)
    job.result(60)
    until(lambda: called == [job])
    job.add_done_callback(called.append)
    assert called == [job, job]


def test_a_handle_pickles_and_works_in_another_process(cluster: Cluster, tmp_path: Path) -> None:
    array = square.map([2, 3])
    handle = tmp_path / "handle.pkl"
    handle.write_bytes(pickle.dumps((array, array[1])))
    program = f"import pickle; a, j = pickle.load(open({str(handle)!r}, 'rb')); print(a.results(60), j.result(60))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[4, 9] 9"


def test_a_job_outlives_the_program_that_submitted_it(cluster: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "with space.py"
    script.write_text(
        textwrap.dedent("""\
            import sys, time
            from slurm import Cluster, task

            @task
            def late(x):
                time.sleep(1)
                return x + 1

            with Cluster(sys.argv[1]):
                print(late(41).key)
            """)
    )
    done = subprocess.run([sys.executable, script, cluster.url], capture_output=True, text=True, check=True)
    found = cluster.job(done.stdout.strip())
    assert isinstance(found, Job)
    assert found.result(60) == 42


def test_cluster_job_gives_arrays_and_their_elements(cluster: Cluster) -> None:
    array = square.map([5, 6])
    again = cluster.job(array.key)
    assert isinstance(again, JobArray)
    assert again.results(60) == [25, 36]
    assert cluster.job(array[1].key).result() == 36  # type: ignore[union-attr]


def test_earlier_submissions_are_listed_the_newest_first(cluster: Cluster) -> None:
    assert cluster.jobs() == []
    some = [add(1, 2) for _ in range(4)]  # the keys of a second do not tell their order
    many = square.map([3])
    newest_first = [many, *reversed(some)]
    assert cluster.jobs() == newest_first
    assert cluster.jobs("add") == newest_first[1:]
    for limit in range(6):
        assert cluster.jobs(limit=limit) == newest_first[:limit]
    assert gather(*cluster.jobs()) == [9, 3, 3, 3, 3]


def test_a_submission_that_cannot_be_read_is_left_out_of_a_listing_and_told_of(local: Cluster) -> None:
    jobs = [add.on(local)(1, number) for number in range(2)]
    record = Path(jobs[0].directory, "submission.json")
    record.write_text(record.read_text().replace('"protocol": 1', '"protocol": 99'))
    program = f"from slurm import Cluster; print(*[job.key for job in Cluster({local.url!r}).jobs()])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [jobs[1].key]
    assert jobs[0].key in done.stderr
    assert "99" in done.stderr


def test_cancel_takes_jobs_and_arrays_at_once(cluster: Cluster) -> None:
    jobs = [sleep(60), sleep.map([60.0, 60.0])]
    before = cluster.command_counts().get("cancel", 0)
    cancel(*jobs)
    assert cluster.command_counts()["cancel"] == before + 1
    assert all(isinstance(error, JobCancelled) for error in gather(*jobs, return_exceptions=True))


def test_leaving_a_cluster_cancels_its_jobs_only_if_it_was_asked_to(cluster: Cluster, root: Path) -> None:
    with Cluster(cluster.url) as lenient:
        kept = sleep(1)
    with Cluster(cluster.url, cancel_on_exit=True):
        gone = sleep(60)
    assert lenient.url == cluster.url
    assert isinstance(gone.exception(60), JobCancelled)
    assert kept.result(60) == 1


def test_an_empty_array_is_a_placeholder_for_no_results(cluster: Cluster) -> None:
    empty = square.map([])
    assert total(empty).result(60) == 0
    assert len(pickle.loads(pickle.dumps(empty))) == 0


def test_threads_are_as_many_as_the_cpus_that_were_asked_for(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = task(os.getenv).with_options(cpus_per_task=2).map(["OMP_NUM_THREADS", "SRUN_CPUS_PER_TASK"])
    assert names.results(60) == ["2", "2"]


def test_ten_megabytes_of_arguments_and_odd_text_arrive_whole(cluster: Cluster) -> None:
    @task
    def measure(data: bytes, text: str) -> tuple[int, str]:
        return len(data), text

    odd = "line\nbreak\ttab 'quote' \"double\" $HOME `id` \\ ünïcödé \u2028 \x00"
    assert measure(b"x" * 10_000_000, odd).result(60) == (10_000_000, odd)


def test_tasks_run_in_the_directory_they_were_submitted_from(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here and there"
    here.mkdir()
    monkeypatch.chdir(here)
    where = task(os.getcwd)
    there = Path.home() if "+" in cluster.url else here  # a login begins in the home
    assert where().result(60) == str(there)
    assert where.with_options(chdir=str(tmp_path))().result(60) == str(tmp_path)


def test_odd_names_and_options_arrive_unchanged(cluster: Cluster) -> None:
    name = "a 'job' \"name\" \\ #1 $HOME ü"
    named = task(os.getenv).with_options(job_name=name, comment="my own words")
    assert named("SLURM_JOB_NAME").result(60) == name


def _is_gone(pid: str) -> bool:
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@task
def halves(n: int) -> dict[str, list[int]]:
    return {"low": list(range(n)), "high": list(range(n, 2 * n))}


def test_an_item_of_a_result_is_an_argument(cluster: Cluster) -> None:
    job = halves(3)
    assert add(job["low"][2], job["high"][0]).result() == 5
