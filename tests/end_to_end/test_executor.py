"""The executor and its futures do what `concurrent.futures` promises, but for what docs/reference/executor.md lists."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import BrokenExecutor, CancelledError, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import slurm
from slurm import Cluster, JobArray, task
from slurm.errors import NotPicklable, OptionError
from slurm.jobs.future import JobFuture
from slurm.protocol.states import JobState
from slurm.testing import InlineCluster
from waiting import until

if TYPE_CHECKING:
    pass


def add(a: int, b: int) -> int:
    return a + b


def total(numbers: list[int], more: dict[str, int]) -> int:
    return sum(numbers) + sum(more.values())


def capture(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    return args, kwargs


def divide(n: int) -> int:
    return 6 // n


def wait_for(path: Path | None) -> str:
    """Ends when there is a file; at once without a path."""
    while path and not path.exists():
        time.sleep(0.02)
    return path.name if path else "-"


def span(log: Path) -> None:
    """Notes when it began and when it ended."""
    begin = time.time()
    time.sleep(0.1)
    with log.open("a") as file:
        file.write(f"{begin} {time.time()}\n")


def note(path: Path, word: str) -> None:
    with path.open("a") as file:
        file.write(f"{word}\n")


def fail() -> None:
    raise ValueError("no licence")


def nothing_lives(cluster: Cluster) -> bool:
    found = [job.states() if isinstance(job, JobArray) else {job.status().state: 1} for job in cluster.jobs()]
    return not any(JobState.RUNNING in states or JobState.PENDING in states for states in found)


class Token:
    """Something to hold a weak reference to."""

    def method(self) -> None:
        pass


def make_token(_: int) -> Token:
    return Token()


# Arguments.


def test_submit_passes_any_keyword(inline: InlineCluster) -> None:
    executor: Any = inline.executor()
    found = executor.submit(capture, 1, self=2, fn=3, function=4, args=5).result(60)
    assert found == ((1,), {"self": 2, "fn": 3, "function": 4, "args": 5})
    assert task(capture)(self=1).result(60) == ((), {"self": 1})
    with pytest.raises(TypeError):
        executor.submit(fn=capture, arg=1)
    with pytest.raises(TypeError):
        executor.submit()


def test_a_future_among_arguments_stands_for_its_result(inline: InlineCluster) -> None:
    executor = inline.executor()
    submit: Any = executor.submit
    two = executor.submit(add, 1, 1)
    with inline.queue.held():
        three = submit(add, 1, two)
    assert three.result(60) == 3
    assert submit(total, [two, three], {"more": three}).result(60) == 8
    assert list(executor.map(add, [two, 1], [three, two])) == [5, 3]
    assert task(add).after(two)(1, 2).result(60) == 3


def test_a_future_among_arguments_can_wait_for_a_slot(inline: InlineCluster) -> None:
    executor = inline.executor(max_workers=1)
    submit: Any = executor.submit
    with inline.queue.held():
        chain = [executor.submit(add, 0, 1)]
        chain += [submit(add, 1, chain[0])]
        chain += [submit(add, 1, chain[1])]
        with pytest.raises(NotPicklable, match=r"argument b of add .*pass future\.job"):
            task(add)(1, chain[2])
    assert chain[-1].result(60) == 3
    assert task(add)(1, chain[2]).result(60) == 4


def test_a_future_of_another_executor_is_named(inline: InlineCluster) -> None:
    submit: Any = inline.executor().submit
    with pytest.raises(NotPicklable, match=r"argument b of add \(concurrent.*\) .* Pass its result\(\)"):
        submit(add, 1, Future())
    with pytest.raises(NotPicklable, match=r"argument b of add\[0\] \(.*result\(\)"):
        submit(add, 1, [Future()])

    async def in_a_loop() -> None:
        with pytest.raises(NotPicklable, match=r"argument b of add .*asyncio.*result\(\)"):
            submit(add, 1, asyncio.get_running_loop().create_future())

    asyncio.run(in_a_loop())


def test_a_coroutine_function_is_refused_at_once(inline: InlineCluster) -> None:
    async def coroutine(n: int) -> int:
        return n

    executor = inline.executor(initializer=divide, initargs=(1,))
    for function in (coroutine, partial(coroutine, 1)):
        with pytest.raises(TypeError, match="coroutine returns a coroutine"):
            executor.submit(function)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match=r"asyncio\.run"):
            executor.map(function, [1])


# Constructor.


@pytest.mark.parametrize("number", [0, -1])
def test_max_workers_below_one_is_refused(inline: InlineCluster, number: int) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        inline.executor(max_workers=number)


def test_arguments_of_other_executors_are_refused_with_advice(inline: InlineCluster) -> None:
    executor: Any = inline.executor
    executor(mp_context=None, thread_name_prefix="")
    for name, value in {"mp_context": object(), "max_tasks_per_child": 1, "thread_name_prefix": "x"}.items():
        with pytest.raises(OptionError, match="leave it out"):
            executor(**{name: value})
    with pytest.raises(TypeError, match="callable"):
        executor(initializer=3)
    with pytest.raises(OptionError, match="the same limit"):
        executor(3, max_concurrent=3)


def test_the_initializer_runs_once_in_each_process(local: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with local.executor(initializer=note, initargs=(log, "begin")) as executor:
        apart = [executor.submit(note, log, "call") for _ in range(2)]
        concurrent.futures.wait(apart)
        assert sorted(log.read_text().split()) == ["begin"] * 2 + ["call"] * 2
        assert list(executor.map(note, [log] * 3, ["call"] * 3, chunksize=3)) == [None] * 3
    assert log.read_text().split()[4:] == ["begin", "call", "call", "call"]


def test_an_initializer_that_fails_breaks_the_executor(inline: InlineCluster) -> None:
    executor = inline.executor(initializer=fail)
    error = executor.submit(add, 1, 1).exception(60)
    assert isinstance(error, BrokenExecutor)
    assert str(error) == "the initializer failed: ValueError: no licence"
    until(lambda: executor._broken)
    with pytest.raises(BrokenExecutor, match="no licence"):
        executor.submit(add, 1, 1)
    with pytest.raises(BrokenExecutor, match="no licence"):
        executor.map(add, [1], [1])
    other = inline.executor(initializer=fail)
    with pytest.raises(BrokenExecutor):
        list(other.map(add, [1], [1]))
    assert other._broken


# A bound on what is in flight.


@pytest.mark.parametrize("limit", [{"max_workers": 1}, {"max_concurrent": 1}])
def test_a_limit_holds_for_submit_and_map_together(local: Cluster, tmp_path: Path, limit: Any) -> None:
    log = tmp_path / "log"
    with local.executor(**limit) as executor:
        executor.submit(span, log)
        executor.map(span, [log] * 2)
        executor.submit(span, log)
        executor.map(span, [log] * 2, chunksize=2)
        executor.map(task(max_concurrent=4)(span), [log])
    spans = sorted(tuple(map(float, line.split())) for line in log.read_text().splitlines())
    assert len(spans) == 7
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))


def test_calls_without_a_slot_are_not_submitted(inline: InlineCluster) -> None:
    with inline.executor(2) as executor:
        with inline.queue.held():
            futures = [executor.submit(add, 0, n) for n in range(5)]
            results = executor.map(add, [1, 2], [3, 4])
            assert len(inline.jobs()) == 2
            assert [future._job is not None for future in futures] == [True, True, False, False, False]
            assert not futures[4].running()
            assert not futures[4].done()
            assert "add, not submitted, state=pending" in repr(futures[4])
            assert futures[4].cancel()
            assert futures[4].cancelled()
            with pytest.raises(CancelledError):
                _ = futures[4].job
        assert [future.result(60) for future in futures[:4]] == [0, 1, 2, 3]
        assert futures[3].job.result() == 3
        assert list(results) == [4, 6]
    assert len(inline.jobs()) == 5


def test_leaving_a_cluster_that_cancels_drops_calls_without_a_slot(tmp_path: Path) -> None:
    with Cluster("local", root=tmp_path / "root", cancel_on_exit=True) as cluster:
        executor = cluster.executor(1)
        futures = [executor.submit(wait_for, tmp_path / "never") for _ in range(3)]
    assert futures[1].cancelled()
    assert futures[2].cancelled()
    concurrent.futures.wait(futures, 60)
    assert futures[0].cancelled()
    assert len(cluster.jobs()) == 1


def test_a_submission_that_fails_later_is_the_futures_error(inline: InlineCluster) -> None:
    executor = inline.executor(1)
    with inline.queue.held():
        executor.submit(add, 1, 1)
        future = executor.submit(add, 1, threading.Lock())  # type: ignore[call-overload]
        results = executor.map(add, [1], [threading.Lock()])
        last = executor.submit(add, 1, 2)
    with pytest.raises(NotPicklable):
        future.result(60)
    with pytest.raises(NotPicklable):
        _ = future.job
    with pytest.raises(NotPicklable):
        next(results)
    assert last.result(60) == 3


def test_a_map_without_a_slot_is_dropped_at_its_timeout(inline: InlineCluster) -> None:
    executor = inline.executor(1)
    with inline.queue.held():
        first = executor.submit(add, 1, 1)
        results = executor.map(add, [1, 2], [1, 2], timeout=0)
        with pytest.raises(TimeoutError):
            next(results)
    assert first.result(60) == 2
    executor.shutdown()
    assert len(inline.jobs()) == 1


def test_a_program_ends_after_its_calls_are_submitted(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import pathlib, sys\n"
        "from slurm import Cluster\n"
        "base = pathlib.Path(sys.argv[1])\n"
        "executor = Cluster('local', root=base / 'root').executor(1)\n"
        "for name in 'abc':\n"
        "    executor.submit(pathlib.Path.touch, base / name)\n"
    )
    subprocess.run([sys.executable, program, tmp_path], check=True)
    until(lambda: all((tmp_path / name).exists() for name in "abc"))


# map.


def test_map_is_the_builtins(inline: InlineCluster) -> None:
    executor = inline.executor()
    assert list(executor.map(pow, range(10), range(8))) == list(map(pow, range(10), range(8)))
    assert list(executor.map(pow, range(10), range(10), chunksize=3)) == list(map(pow, range(10), range(10)))
    assert list(executor.map(pow, [], [])) == []
    assert list(executor.map(pow)) == []
    with pytest.raises(ValueError, match="chunksize"):
        executor.map(pow, [1], [1], chunksize=0)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_map_with_a_buffer_reads_items_as_results_are_yielded(inline: InlineCluster, size: int) -> None:
    items, executor = itertools.count(), inline.executor()
    results = executor.map(str, items, buffersize=size)
    assert next(items) == size
    after = [str(number) for number in range(size)]
    assert [next(results) for _ in after] == after
    first = next(results)
    assert first == str(size + 1)  # the test has taken the item before
    assert next(items) <= 2 * size + 1
    results.close()  # type: ignore[attr-defined]
    assert list(executor.map(str, range(7), buffersize=size)) == list("0123456")
    assert list(executor.map(str, [], buffersize=size)) == []


def test_a_map_with_a_buffer_reads_no_item_once_it_has_failed(local: Cluster, tmp_path: Path) -> None:
    executor, items = local.executor(), iter([None, None, None, tmp_path / "never", None, None, None, None])
    results = executor.map(wait_for, items, buffersize=4, timeout=20)
    assert [next(results) for _ in range(3)] == ["-", "-", "-"]
    results.close()  # type: ignore[attr-defined]
    until(lambda: nothing_lives(local))
    assert len(list(items)) == 2
    waiting = executor.map(wait_for, [None, None], buffersize=1)
    executor.shutdown()
    assert next(waiting) == "-"
    with pytest.raises(RuntimeError, match="after shutdown"):
        next(waiting)


@pytest.mark.parametrize(("size", "error"), [("3", TypeError), (2.0, TypeError), (0, ValueError), (-1, ValueError)])
def test_a_buffer_is_a_number_above_zero(inline: InlineCluster, size: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="buffersize must be"):
        inline.executor().map(str, [1], buffersize=size)


def test_map_yields_each_result_when_it_is_there(local: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    results = local.executor().map(wait_for, [None, None, gate])
    assert next(results) == next(results) == "-"
    gate.touch()
    assert list(results) == ["gate"]
    assert nothing_lives(local)


def test_map_raises_an_error_in_its_place_and_cancels_the_rest(local: Cluster, tmp_path: Path) -> None:
    executor = local.executor()
    results = executor.map(divide, [1, 2, 3, 0, 6])
    assert [next(results) for _ in range(3)] == [6, 3, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []

    def divide_or_wait(n: int, path: Path) -> int:
        if n < 0:
            wait_for(path)
        return 6 // n

    failing = executor.map(divide_or_wait, [1, 0, -1], [tmp_path / "never"] * 3)
    assert next(failing) == 6
    with pytest.raises(ZeroDivisionError):
        next(failing)
    until(lambda: nothing_lives(local))


def test_a_map_that_times_out_cancels_what_is_left(local: Cluster, tmp_path: Path) -> None:
    results = local.executor().map(wait_for, [tmp_path / "never"], timeout=0.1)
    with pytest.raises(TimeoutError, match=r"after 0\.1 s; the calls that had not ended were cancelled") as late:
        next(results)
    assert isinstance(late.value, concurrent.futures.TimeoutError)
    until(lambda: nothing_lives(local))


def test_a_timeout_error_of_a_call_is_raised_unchanged(inline: InlineCluster) -> None:
    def slow() -> None:
        raise TimeoutError("of the task")

    with pytest.raises(TimeoutError, match="of the task"):
        next(inline.executor().map(lambda _: slow(), [1], timeout=60))


def test_a_map_that_is_left_cancels_what_is_left(local: Cluster, tmp_path: Path) -> None:
    for result in local.executor().map(wait_for, [None, tmp_path / "never"]):
        assert result == "-"
        break
    until(lambda: nothing_lives(local))


def test_an_interrupted_map_cancels_what_is_left(local: Cluster, tmp_path: Path) -> None:
    executor = local.executor()
    results = executor.map(wait_for, [None, tmp_path / "never"])
    assert next(results) == "-"
    (array,) = executor._maps

    def interrupt() -> None:
        until(lambda: array.part.state._waiters)
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        interrupting = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt, match="were cancelled"):
            next(results)
        interrupting.result()
    until(lambda: nothing_lives(local))


def test_a_map_that_is_open_when_the_program_ends_goes_on(local: Cluster, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import pathlib, sys\n"
        "from slurm import Cluster\n"
        "def wait_for(gate):\n"
        "    import time\n"
        "    while gate and not gate.exists():\n"
        "        time.sleep(0.02)\n"
        "results = Cluster('local', root=sys.argv[1]).executor().map(wait_for, [None, pathlib.Path(sys.argv[2])])\n"
        "print(next(results))\n"
    )
    gate = tmp_path / "gate"
    root = local.place.store.root
    done = subprocess.run([sys.executable, program, root, gate], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("None\n", "")
    (array,) = local.jobs()
    assert not array.done()
    gate.touch()
    assert array[1].result(60) is None


def test_a_map_that_nobody_reads_runs(inline: InlineCluster, tmp_path: Path) -> None:
    with inline.executor() as executor:
        executor.map(note, [tmp_path / "log"] * 3, "abc")
    assert sorted((tmp_path / "log").read_text().split()) == ["a", "b", "c"]


def test_a_map_keeps_no_result(inline: InlineCluster) -> None:
    for token in inline.executor().map(make_token, range(10)):
        alive = weakref.ref(token)
        del token
        gc.collect()
        assert alive() is None


def test_iter_results_yields_in_order_and_goes_on_after_a_timeout(inline: InlineCluster) -> None:
    array = task(divide).map([1, 2, 3, 0])
    results = array.iter_results(60)
    assert [next(results) for _ in range(3)] == [6, 3, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(task(divide).map(range(1, 7), chunk_size=4).iter_results()) == [6, 3, 2, 1, 1, 1]
    with inline.queue.held():
        waits = task(divide).map([1])
        with pytest.raises(TimeoutError, match="come back"):
            next(waits.iter_results(0))
    assert waits.results(60) == [6]


# Futures.


def test_a_cancelled_future_is_cancelled_at_once_and_a_second_time(local: Cluster, tmp_path: Path) -> None:
    called: list[Future[str]] = []
    future = local.executor().submit(wait_for, tmp_path / "never")
    future.add_done_callback(called.append)
    until(future.running)
    assert "state=running>" in repr(future)
    assert future.cancel()
    assert called == [future]
    assert future.cancelled()
    assert future.done()
    assert not future.running()
    assert future.cancel()
    for read in (future.result, future.exception):
        with pytest.raises(CancelledError):
            read()
    until(future.job.done)
    assert future.job.cancel()
    assert future.job.cancelled()
    assert future in concurrent.futures.wait([future, future], 60).done


def test_a_future_of_a_job_that_was_cancelled_is_cancelled(inline: InlineCluster) -> None:
    with inline.queue.held():
        future = inline.executor().submit(add, 1, 1)
        assert future.job.cancel()
        with pytest.raises(CancelledError):
            future.result(60)
    assert future.cancel()


def test_a_finished_future_cannot_be_cancelled(inline: InlineCluster) -> None:
    executor = inline.executor()
    future, failing = executor.submit(add, 1, 1), executor.submit(divide, 0)
    concurrent.futures.wait([future, failing], 60)
    assert not future.cancel()
    assert not failing.cancel()
    assert not future.cancelled()
    assert not future.job.cancel()
    assert future.result() == 2


def test_an_exception_is_the_same_object_each_time(inline: InlineCluster) -> None:
    future = inline.executor().submit(divide, 0)
    error = future.exception(60)
    assert isinstance(error, ZeroDivisionError)
    assert future.exception() is error
    assert future.job.exception() is future.job.exception()
    with pytest.raises(ZeroDivisionError) as raised:
        future.job.result()
    assert raised.value is future.job.exception()


def test_repr_of_a_future_has_its_key_and_state(inline: InlineCluster) -> None:
    executor = inline.executor()
    with inline.queue.held():
        future, failing = executor.submit(add, 1, 1), executor.submit(divide, 0)
        assert repr(future) == f"<JobFuture {future.job.key} state=pending>"
    concurrent.futures.wait([future, failing], 60)
    assert repr(future) == f"<JobFuture {future.job.key} state=finished returned int>"
    assert repr(failing) == f"<JobFuture {failing.job.key} state=finished raised ZeroDivisionError>"


def test_wait_and_as_completed_take_futures(local: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    executor = local.executor()
    slow, fast, failing = executor.submit(wait_for, gate), executor.submit(add, 1, 1), executor.submit(divide, 0)
    futures: list[Future[Any]] = [slow, fast, failing]
    done, left = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
    assert failing in done
    assert slow in left
    done, left = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_COMPLETED)
    assert slow in left
    completed = concurrent.futures.as_completed([*futures, fast])
    assert {next(completed), next(completed)} == {fast, failing}
    gate.touch()
    assert list(completed) == [slow]


def test_a_callback_that_raises_hurts_nobody(inline: InlineCluster, caplog: pytest.LogCaptureFixture) -> None:
    def raising(_: object) -> None:
        raise ValueError("doh")

    called: list[object] = []
    future = inline.executor().submit(add, 1, 1)
    future.add_done_callback(raising)
    future.add_done_callback(called.append)
    until(lambda: called)
    future.add_done_callback(raising)
    assert future.job.result() == 2
    caplog.clear()
    future.job.add_done_callback(raising)
    assert "a callback of a job failed" in caplog.text
    assert "doh" in caplog.text


def test_an_executor_keeps_no_argument(inline: InlineCluster) -> None:
    for executor in (inline.executor(), inline.executor(1)):
        token = Token()
        alive = weakref.ref(token)
        with inline.queue.held():
            futures = [executor.submit(token.method) for _ in range(3)]
        del token
        concurrent.futures.wait(futures, 60)

        def collected(alive: weakref.ref[Token] = alive) -> bool:
            gc.collect()
            return alive() is None

        until(collected)


# shutdown.


def test_shutdown_takes_no_more_calls_and_may_be_repeated(inline: InlineCluster) -> None:
    executor = inline.executor(1)
    futures = [executor.submit(add, 0, n) for n in range(4)]
    executor.shutdown(wait=False)
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == [0, 1, 2, 3]
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(add, 1, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(add, [1], [1])


def test_shutdown_can_cancel_what_has_not_ended(inline: InlineCluster) -> None:
    executor = inline.executor(2)
    with inline.queue.held():
        futures = [executor.submit(add, 0, n) for n in range(5)]
        results = executor.map(add, [1], [1])
        executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    with pytest.raises(CancelledError):
        next(results)
    assert len(inline.jobs()) == 2


# Jobs, in place of futures.


def test_concurrent_futures_names_what_waits_for_jobs(inline: InlineCluster) -> None:
    job: Any = task(add)(1, 1)
    array: Any = task(divide).map([1])
    for wrong in ([job], array, [array]):
        with pytest.raises(AttributeError, match=r"slurm\.wait"):
            concurrent.futures.wait(wrong, 60)
        with pytest.raises(AttributeError, match=r"slurm\.as_completed"):
            list(concurrent.futures.as_completed(wrong, 60))
    assert not hasattr(job, "_condition")

    async def wrap() -> None:
        for wrong in (job, array):
            with pytest.raises(TypeError, match="write `await job`"):
                asyncio.wrap_future(wrong)
        assert not asyncio.isfuture(job)
        assert list(await asyncio.gather(job, array)) == [2, [6]]

    asyncio.run(wrap())
    with pytest.raises(TypeError, match=r"concurrent\.futures waits for futures"):
        slurm.wait([inline.executor().submit(add, 1, 1)])


def test_an_array_can_be_awaited(inline: InlineCluster) -> None:
    async def main() -> None:
        assert await task(divide).map([1, 2, 3]) == [6, 3, 2]
        assert await task(divide).map([]) == []
        with pytest.raises(ZeroDivisionError):
            await task(divide).map([1, 0])
        with inline.queue.held():
            waits = task(divide).map([1, 2])
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(waits, 0.1)
        assert list(await asyncio.gather(waits, task(add)(1, 1))) == [[6, 3], 2]

    asyncio.run(main())


def test_async_for_over_an_array_yields_jobs_as_they_end(local: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def main() -> list[str]:
        found = []
        async for job in task(wait_for).map([gate, None]):
            found.append(await job)
            gate.touch()
        return found

    assert asyncio.run(main()) == ["-", "gate"]


def test_awaiting_in_another_event_loop_names_what_works(inline: InlineCluster) -> None:
    job = task(add)(1, 1)
    for awaitable in (job, task(divide).map([1])):
        with pytest.raises(RuntimeError, match=r"anyio\.to_thread\.run_sync\(job\.result\)"):
            awaitable.__await__().send(None)
    assert job.result(60) == 2


def test_asyncio_runs_functions_in_the_executor(inline: InlineCluster) -> None:
    async def main() -> None:
        executor = inline.executor()
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(executor, add, 1, 2) == 3
        assert await asyncio.wrap_future(executor.submit(add, 1, 3)) == 4
        with inline.queue.held():
            future = executor.submit(add, 1, 4)
            wrapped = asyncio.wrap_future(future)
            wrapped.cancel()
            with pytest.raises(asyncio.CancelledError):
                await wrapped
            cancelled = asyncio.Event()
            future.add_done_callback(lambda _: loop.call_soon_threadsafe(cancelled.set))
            await asyncio.wait_for(cancelled.wait(), 60)
        assert future.cancelled()

    asyncio.run(main())


def test_a_future_is_the_standard_librarys(inline: InlineCluster) -> None:
    future = inline.executor().submit(add, 1, 1)
    assert isinstance(future, Future)
    assert isinstance(future, JobFuture)
    with ThreadPoolExecutor(1) as pool:
        assert concurrent.futures.wait([future, pool.submit(add, 1, 1)], 60).not_done == set()


# Cluster.current().


def test_the_current_cluster_is_the_active_one(inline: InlineCluster, tmp_path: Path) -> None:
    assert Cluster.current() is inline
    other = Cluster("local", root=tmp_path)
    with other:
        assert Cluster.current() is other
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(slurm.errors.NoActiveCluster, match="current"):
            pool.submit(Cluster.current).result()
        other.activate()
        try:
            assert pool.submit(Cluster.current).result() is other
        finally:
            other.deactivate()


def test_the_current_cluster_of_a_workflow_is_its_own(inline: InlineCluster) -> None:
    @slurm.workflow
    def square_sum(n: int) -> int:
        with Cluster.current().executor() as executor:
            return sum(executor.map(pow, range(n), [2] * n))

    assert square_sum(4).result(60) == 14
