"""Elements that fail or stop and run again, under the same key, with a client and without one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from slurm import Cluster, DependencyFailed, JobTimedOut, Retry, Task, TaskExited, current_job, gather, task
from slurm.errors import OptionError, TaskFailed
from timing import set_timings
from waiting import until


def runs(marks: Path, name: object) -> int:
    """How often a task with this name has begun, this time included."""
    (marks / f"{name}.{time.monotonic_ns()}").touch()
    return sum(path.name.startswith(f"{name}.") for path in marks.iterdir())


@task(retry=Retry(times=2, on=ValueError))
def flaky(marks: Path, failures: int) -> tuple[int, int]:
    """Raises in its first attempts."""
    ctx = current_job()
    if runs(marks, failures) <= failures:
        raise ValueError(f"attempt {ctx.attempt}")
    return failures, ctx.attempt


@task
def twice(pair: tuple[Any, int]) -> tuple[Any, ...]:
    return pair * 2


def test_dependents_wait_while_failed_elements_run_again(cluster: Cluster, tmp_path: Path) -> None:
    array = flaky.starmap([(tmp_path, failures) for failures in (0, 1, 3)])
    after_second, after_last = twice(array[1]), twice(array[2])
    each = twice.map(array)
    assert [job.result(60) for job in array[:2]] == [(0, 1), (1, 2)]
    with pytest.raises(ValueError, match="attempt 3"):
        array[2].result(60)
    assert after_second.result(60) == (1, 2, 1, 2)
    with pytest.raises(DependencyFailed, match=r"ValueError: attempt 3"):
        after_last.result(60)
    assert [job.result(60) for job in each[:2]] == [(0, 1, 0, 1), (1, 2, 1, 2)]
    with pytest.raises(DependencyFailed, match=r"ValueError: attempt 3"):
        each[2].result(60)
    assert len(list(tmp_path.glob("[0-9].*"))) == 1 + 2 + 3


def test_only_named_failures_are_retried(cluster: Cluster, tmp_path: Path) -> None:
    job = flaky.with_options(retry=Retry(on=(KeyError, "JobTimedOut")))(tmp_path, 1)
    with pytest.raises(ValueError, match="attempt 1"):
        job.result(60)
    assert len(list(tmp_path.glob("1.*"))) == 1
    unset = flaky.with_options(retry=None)(tmp_path, 2)
    with pytest.raises(ValueError, match="attempt 1"):
        unset.result(60)


@task(retry=Retry(times=1, on=TaskExited))
def killed_once(marks: Path, script_too: bool) -> str:
    """Is killed the first time: its Python, or the script around it with it."""
    if runs(marks, "killed") == 1:
        if script_too:
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("script_too", [False, True])
def test_a_killed_process_is_retried(cluster: Cluster, tmp_path: Path, script_too: bool) -> None:
    assert killed_once(tmp_path, script_too).result(90) == "done"
    assert len(list(tmp_path.glob("killed.*"))) == 2


def test_failed_elements_are_retried_without_a_client(cluster: Cluster, root: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from slurm import Cluster\n"
        "from end_to_end.test_continuation import flaky, killed_once\n"
        "with Cluster(sys.argv[2], root=sys.argv[3]):\n"
        "    print(flaky(Path(sys.argv[4]), 1).key, killed_once(Path(sys.argv[4]), True).key)\n"
    )
    tests = Path(__file__).parents[1]
    argv = [sys.executable, "-c", program, str(tests), cluster.url, str(root), str(tmp_path)]
    keys = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    outcomes = [root / "jobs" / key / "outcomes" / "0.json" for key in keys]
    until(lambda: all(path.exists() for path in outcomes), 90)
    assert [json.loads(path.read_text())["status"] for path in outcomes] == ["succeeded", "succeeded"]
    assert [cluster.job(key).result(30) for key in keys] == [(1, 2), "done"]  # type: ignore[union-attr]


# Checkpoints.


@task(time="00:10:00", signal_lead=597, max_restarts=5)
def count_to(top: int, marks: Path) -> tuple[list[int], int]:
    """Counts, is told to stop about three seconds after its start, saves, and goes on where it was."""
    ctx = current_job()
    seen: list[int] = ctx.restored or []
    runs(marks, "attempt")
    while len(seen) < top:
        seen.append(len(seen))
        if len(seen) % 10 == 0:
            while not ctx.should_stop:
                time.sleep(0.05)
        if ctx.should_stop:
            ctx.checkpoint(seen)
    return seen, ctx.attempt


def test_a_stopped_task_continues_from_its_checkpoint(local: Cluster, tmp_path: Path) -> None:
    job = count_to(15, tmp_path)
    after = twice(job)
    assert job.result(90) == (list(range(15)), 2)
    assert after.result(60) == (list(range(15)), 2, list(range(15)), 2)
    assert len(list(tmp_path.glob("attempt.*"))) == 2
    assert not list(Path(job.directory, "results").glob(".*.checkpoint"))


@task(time="00:10:00", signal_lead=597, max_restarts=1)
def fit(gate: Path) -> tuple[Any, int]:
    """Is in a loop that does not poll `should_stop`."""
    ctx = current_job()
    if ctx.restored is None:
        ctx.on_stop(lambda: ctx.checkpoint({"epoch": 3}))
        until(gate.exists)
    return ctx.restored, ctx.attempt


@task(time="00:10:00", signal_lead=597, max_restarts=1)
def fit_with_own_handler(gate: Path) -> tuple[Any, int]:
    """Has a handler of its own for the stop signal, which calls the previous one."""
    ctx = current_job()
    before: Any = signal.getsignal(signal.SIGUSR1)

    def handler(number: int, frame: Any) -> None:
        before(number, frame)
        ctx.checkpoint({"epoch": 3})

    if ctx.restored is None:
        signal.signal(signal.SIGUSR1, handler)
        until(gate.exists)
    return ctx.restored, ctx.attempt


@pytest.mark.parametrize("function", [fit, fit_with_own_handler])
def test_a_task_that_cannot_poll_saves_from_the_signal(
    local: Cluster, tmp_path: Path, function: Task[[Path], tuple[Any, int]]
) -> None:
    assert function(tmp_path / "never").result(90) == ({"epoch": 3}, 2)


def test_a_task_that_stops_more_often_than_max_restarts_fails(local: Cluster, tmp_path: Path) -> None:
    job = count_to.with_options(max_restarts=1)(10_000, tmp_path)
    with pytest.raises(JobTimedOut, match="stopped once too often"):
        job.result(90)
    assert len(list(tmp_path.glob("attempt.*"))) == 2


@task(retry=Retry(times=1, on=RuntimeError))
def save_and_fail() -> tuple[Any, int]:
    ctx = current_job()
    restored = ctx.restored
    ctx.checkpoint({"at": ctx.attempt})
    if restored is None:
        raise RuntimeError("after the checkpoint")
    return restored, ctx.attempt


def test_a_retry_finds_the_files_of_the_previous_attempt(cluster: Cluster) -> None:
    assert save_and_fail().result(60) == ({"at": 1}, 2)


def test_progress_is_recorded(cluster: Cluster) -> None:
    @task
    def work() -> None:
        ctx = current_job()
        for done in range(1000):
            ctx.progress(done + 1, 1000, loss=1 / (done + 1))

    job = work()
    job.result(60)
    lines = [json.loads(line) for line in Path(job.directory, "events", "0.jsonl").read_text().splitlines()]
    assert 2 <= len(lines) < 100
    assert (lines[-1]["done"], lines[-1]["total"], lines[-1]["metrics"]) == (1000, 1000, {"loss": 0.001})


# Bad input.


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"times": 0}, "times=0"),
        ({"mem": "half"}, "a factor above 1"),
        ({"mem": "x0.5"}, "a factor above 1"),
        ({"on": int}, "exception classes, and <class 'int'> is not one"),
        ({"on": ()}, "exception classes"),
        ({"max_mem": "4G"}, "give mem too"),
        ({"mem": "x2", "max_mem": "lots"}, "megabytes"),
    ],
)
def test_an_invalid_retry_is_refused_at_decoration(given: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Retry(**given)


def test_a_factor_needs_an_option_to_multiply(local: Cluster) -> None:
    with pytest.raises(OptionError, match="set mem or mem_per_cpu or mem_per_gpu"):
        flaky.with_options(retry=Retry(mem="x2"))(Path(), 0)
    with pytest.raises(OptionError, match=r"expected a Retry"):
        task(retry="often")(twice.unwrapped)  # type: ignore[call-overload]


@pytest.mark.usefixtures("short_grace")
def test_many_failures_are_resubmitted_in_one_job(cluster: Cluster, tmp_path: Path) -> None:
    places = [tmp_path / str(number) for number in range(6)]
    for place in places:
        place.mkdir()
    jobs = killed_once.starmap([(place, True) for place in places])
    assert gather(jobs) == ["done"] * 6


# Elements of several calls.


@task(retry=Retry(times=2, on=ValueError))
def of_many(marks: Path, number: int) -> int:
    """Every third raises the first time; every fifth raises what isn't survived."""
    before = runs(marks, f"call{number}") - 1
    if number % 5 == 4:
        raise KeyError(number)
    if number % 3 == 1 and before == 0:
        raise ValueError(number)
    return number * 10


@pytest.mark.parametrize("workers", [None, 2])
def test_only_failed_calls_of_an_element_run_again(cluster: Cluster, tmp_path: Path, workers: int | None) -> None:
    array = of_many.starmap([(tmp_path, number) for number in range(12)], chunk_size=6, workers=workers)
    found = array.results(90, return_exceptions=True)
    assert [x if isinstance(x, int) else type(x) for x in found] == [
        KeyError if number % 5 == 4 else number * 10 for number in range(12)
    ]
    for number in range(12):
        again = number % 3 == 1 and number % 5 != 4
        assert len(list(tmp_path.glob(f"call{number}.*"))) == 1 + again


@task(time="00:10:00", signal_lead=597)
def slow(marks: Path, number: int) -> int:
    runs(marks, f"slow{number}")
    time.sleep(0.6)
    return number


@pytest.mark.parametrize("workers", [None, 2])
def test_an_element_of_many_calls_stops_between_calls_and_continues(
    local: Cluster, tmp_path: Path, workers: int | None
) -> None:
    array = slow.starmap([(tmp_path, number) for number in range(14)], chunk_size=14, workers=workers)
    assert array.results(90) == list(range(14))
    assert len(list(tmp_path.glob("slow*"))) == 14
    assert list(Path(array.directory, "attempts").glob("0.1.next.json"))


@task(time="00:10:00", signal_lead=598, max_restarts=1)
def last_or_first(x: int) -> int:
    """Of four calls the third never returns by itself, the second fails."""
    ctx = current_job()
    if x == 1:
        raise ValueError(x)
    if x == 2:
        until(lambda: ctx.should_stop)
        ctx.checkpoint(x)
    return x


def test_finished_calls_are_kept_when_an_element_fails_for_good(local: Cluster) -> None:
    array = last_or_first.map(range(4), chunk_size=4)
    done, failed, never, nor = array.results(90, return_exceptions=True)
    assert (done, array[0].status().reason) == (0, None)
    assert isinstance(failed, ValueError)
    for error in (never, nor):
        assert isinstance(error, JobTimedOut)
        assert "stopped once too often" in str(error)


@task(retry=Retry(times=2, on=ValueError))
def damaging(name: str) -> None:
    """Fails, and a record of its first attempt is damaged."""
    path = Path(current_job().directory, "attempts", name)
    path.touch(mode=0o600)
    path.write_bytes(b'{"protocol"')
    raise ValueError("attempt 1")


def test_a_damaged_claim_does_not_block_a_future(local: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    set_timings(monkeypatch, abandoned_claim=1.0)
    with pytest.raises(ValueError, match="attempt 1"):
        damaging("0.1.next.json").result(60)


def test_a_damaged_outcome_of_an_attempt_is_an_error_of_its_call(local: Cluster) -> None:
    error = damaging("0.1.json").exception(60)
    assert isinstance(error, TaskFailed)
    assert "the record of its attempt is damaged: attempts/0.1.json is not a valid outcome record" in str(error)
