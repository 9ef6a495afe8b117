"""`with cluster.batch()`: calls of several functions as one submission."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

from slurm import Callback, Cluster, Job, JobContext, command, task, workflow
from slurm.errors import NotPicklable, OptionError, SubmissionError
from slurm.storage.keys import name_of_batch, of_task, tasks_of
from slurm.testing import InlineCluster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slurm.callbacks import CompletedEvent


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task
def name(ctx: JobContext, text: str) -> str:
    if text == "bad":
        raise ValueError(text)
    return f"{text}{ctx.index}"


@task(reuse=True)
def square(x: int) -> int:
    return x * x


@task(reuse=True)
def cube(x: int) -> int:
    return x**3


@workflow
def sums(count: int) -> list[int]:
    with Cluster.current().batch() as batch:
        for number in range(count):
            add(number)
            name(str(number))
    return [len(batch.jobs), *(job.result() for job in batch.jobs[::2])]


@workflow
def twice(x: int) -> int:
    return add(x, x).result()


def keys(cluster: Cluster) -> list[str]:
    return [job.key for job in cluster.jobs()]


def test_calls_of_several_functions_are_one_submission(inline: InlineCluster) -> None:
    with inline.batch() as batch:
        one, two = add(1), name("a")
        mapped = add.map([5, 6], y=2)
        assert repr(one) == "<Job of add: not submitted yet: leave the `with cluster.batch()` block first>"
        assert keys(inline) == []
    assert (one.result(), two.result(), mapped.results()) == (2, "a1", [7, 8])
    (key,) = keys(inline)
    assert tasks_of(key) == ["add", "name"]
    assert [job.key for job in (one, two, *mapped)] == [f"{key}[{index}]" for index in range(4)]
    assert batch.jobs.results() == [2, "a1", 7, 8]
    assert type(one) is Job
    assert pickle.loads(pickle.dumps(two)) == two
    assert inline.command_counts()["submit"] == 1


def test_each_call_has_its_function(inline: InlineCluster) -> None:
    with inline.batch() as batch:
        add(1)
        bad = name("bad")
    assert batch.jobs.arguments() == [{"x": 1}, {"text": "bad"}]
    assert [row["task"] for row in batch.jobs.table()] == ["add", "name"]
    error = bad.exception()
    assert error is not None
    assert f"in job {bad.key} (id {bad.job_id}) of name on " in error.__notes__[0]
    assert f"{bad.key} of name id " in repr(bad)
    assert [job.key for job in inline.jobs("name")] == keys(inline)
    again = batch.jobs.retry_failed()
    assert again.arguments() == [{"text": "bad"}]
    assert " of name " in repr(again[0])
    assert batch.jobs.latest()[1] == again[0]


@pytest.mark.parametrize(
    "asked",
    [
        lambda job: job.result(),
        lambda job: job.status(),
        lambda job: job.done(),
        lambda job: job.key,
        hash,
        add.after,
    ],
)
def test_before_the_end_of_the_block_there_is_nothing_to_ask(
    inline: InlineCluster, asked: Callable[[Any], object]
) -> None:
    with inline.batch() as batch:
        job, array = add(1), add.map([1])
        for handle in (job, array):
            with pytest.raises(SubmissionError, match="not submitted yet: leave the `with"):
                asked(handle)
        with pytest.raises(SubmissionError, match="leave the"):
            _ = batch.jobs
    assert job.result() == 2


def test_nothing_is_submitted_if_the_block_raises(inline: InlineCluster) -> None:
    jobs: list[Job[int]] = []

    def block() -> None:
        with inline.batch():
            jobs.append(add(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert keys(inline) == []
    with pytest.raises(SubmissionError, match="block raised ZeroDivisionError"):
        jobs[0].result()


def test_nothing_is_submitted_if_an_argument_cannot_be_pickled(inline: InlineCluster) -> None:
    jobs: list[Job[Any]] = []

    def block() -> None:
        with inline.batch():
            jobs.append(name("a"))
            add(threading.Lock())  # type: ignore[call-overload]

    with pytest.raises(NotPicklable, match="argument x of add"):
        block()
    assert keys(inline) == []
    with pytest.raises(SubmissionError, match="not submitted"):
        jobs[0].result()


def test_calls_with_other_options_are_refused_by_name(inline: InlineCluster) -> None:
    job = add(1)
    with inline.batch() as batch:
        add(1)
        for other, words in {
            name.with_options(mem="2G"): r"name: mem='2G'; add before: no mem\.",
            add.with_options(callbacks=[Callback()]): r"add: callbacks=\[<.*Callback.*; add before: callbacks=\[\]",
            name.after(job): rf"name: after {job.key}; add before: after no job",
            twice: "twice: a workflow; add before: a task",
            command("echo {x}"): "echo: launch='once'; add before: no launch",
        }.items():
            with pytest.raises(OptionError, match=words):
                other("1")  # type: ignore[operator]
        with pytest.raises(TypeError):
            name.starmap([("a",), ("b", "c", "d")])
    assert len(batch.jobs) == 1


def test_a_job_of_the_same_batch_is_no_argument(inline: InlineCluster) -> None:
    before = add(1)
    with inline.batch():
        one = add(before, 1)
        with pytest.raises(SubmissionError, match="add has a job of add of the same batch as an argument"):
            add(1, one)
        with pytest.raises(SubmissionError, match="same batch"):
            add([{"x": one}])  # type: ignore[call-overload]
    assert one.result() == 3
    assert add(one).result() == 4


def test_options_of_the_calls_apply_to_the_batch(inline: InlineCluster) -> None:
    ended: list[tuple[str, int]] = []

    class Ended(Callback):
        def on_completed(self, event: CompletedEvent) -> None:
            ended.append((event.task, event.index))

    options: Any = {"chunk_size": 2, "max_concurrent": 1, "labels": {"day": "1"}, "callbacks": [Ended()]}
    with inline.batch() as batch:
        jobs = [add.with_options(**options)(number) for number in range(3)]
        jobs.append(name.with_options(**options)("n"))
    assert [job.result() for job in jobs] == [1, 2, 3, "n3"]
    assert (batch.jobs.part.elements, batch.jobs.labels) == (2, {"day": "1"})


def test_known_calls_are_reused_whether_a_batch_has_made_them_or_not(inline: InlineCluster) -> None:
    assert square(1).result() == 1
    with inline.batch() as batch:
        jobs, cubes = [square(1), square(2)], cube.map([1, 2])
    assert ([job.result() for job in jobs], cubes.results()) == ([1, 4], [1, 8])
    assert [len(part.indices) for part in batch.jobs.own_parts] == [3]
    with inline.batch() as again:
        square(2)
        cube(2)
    assert again.jobs.results() == [4, 8]
    assert again.jobs.own_parts == []
    assert square(2).key == jobs[1].key
    assert cube(2).key == cubes[1].key
    assert len(keys(inline)) == 2


def test_a_batch_within_a_workflow_and_of_workflows(inline: InlineCluster) -> None:
    with inline.batch() as batch:
        one, two = sums(2), twice(4)
    assert (one.result(), two.result()) == ([4, 1, 2], 8)
    (child,) = one.children()
    assert tasks_of(child.key) == ["add", "name"]
    assert len(batch.jobs) == 2


def test_an_executor_and_a_plan_do_not_wait_for_the_end_of_the_block(inline: InlineCluster) -> None:
    with inline.executor() as executor, inline.batch() as batch:
        assert executor.submit(max, 1, 2).result() == 2
        assert add.plan(1).submit().result() == 2
    assert len(batch.jobs) == 0


def test_calls_to_another_cluster_and_of_other_threads_are_no_part(inline: InlineCluster, tmp_path: Path) -> None:
    other = Cluster("inline", root=tmp_path)
    with inline.batch() as batch:
        assert add.on(other)(1).result() == 2
        thread = threading.Thread(target=lambda: add.on(inline)(1))
        thread.start()
        thread.join()
    assert len(batch.jobs) == 0
    with pytest.raises(OptionError, match="one `with` block"), batch:
        pass


def test_names_that_are_too_long_together_are_refused(inline: InlineCluster) -> None:
    def make(number: int) -> Any:
        def function() -> int:
            return number

        function.__name__ = f"{'long' * 10}{number}"
        function.__qualname__ = function.__name__
        return task(function)

    def block() -> None:
        with inline.batch():
            for number in range(6):
                make(number)()

    with pytest.raises(OptionError, match="the names of the 6 functions of a batch have 251 characters"):
        block()
    assert keys(inline) == []


def test_a_key_is_found_by_each_of_its_tasks() -> None:
    found = ["load+fit/1", "load/2", "fit_all/3"]
    assert of_task(found, "fit") == ["load+fit/1"]
    assert of_task(found, "load") == ["load+fit/1", "load/2"]
    assert of_task(found, "fit*") == ["load+fit/1", "fit_all/3"]
    assert of_task(found, "load+fit") == ["load+fit/1"]
    assert of_task(found, "fit*", whole=True) == ["fit_all/3"]
    assert name_of_batch(["a b", "f", "f"]) == "a_b+f"
