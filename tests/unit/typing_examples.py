"""What type checkers make of a user's program: only they run this file, test_types.py has them do it.

Where a line is marked `type: ignore[…]`, mypy must object to it: an ignore that isn't needed is an error too. Pyright
runs on this file in the session `types`; it does not narrow by `is_array`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

from slurm import (
    FIRST_COMPLETED,
    Cluster,
    Finished,
    Graph,
    Job,
    JobArray,
    JobContext,
    JobState,
    Plan,
    Task,
    WorkflowContext,
    as_completed,
    command,
    current_job,
    current_workflow,
    fence,
    gather,
    task,
    wait,
    workflow,
)
from slurm.jobs.future import JobFuture


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@task(time=timedelta(hours=1), mem="4G", requeue=True, nodelist=["n1"], sbatch={"--foo": 1})
def name(x: float, *, upper: bool = False) -> str:
    return f"{x}{upper}"


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def save(ctx: JobContext, text: str, *, times: int = 1) -> int:
    return ctx.index + len(text) * times


@task(mem="4G")
def only_context(ctx: JobContext) -> str:
    return ctx.host


@task(ntasks=2, gather=True)
def rank(ctx: JobContext, scale: float) -> float:
    return ctx.rank * scale


@task
def last(text: str, ctx: JobContext | None = None) -> str:
    return text + (ctx.host if ctx else "")


@task
def first_is_any_object(item: object, times: int) -> str:
    return str(item) * times


@task(time="1:00")
def first_is_anything(item: Any, times: int = 1) -> list[Any]:
    return [item] * times


@task
def untyped(item, times):  # type: ignore[no-untyped-def]
    return item * times


@task
def any_number(*numbers: Any, **more: Any) -> int:
    return len(numbers) + len(more)


@workflow
def nested(ctx: WorkflowContext, count: int) -> int:
    return ctx.index + count


@workflow(time="1:00:00")
def nested_later(ctx: WorkflowContext, count: int = 1) -> int:
    return ctx.index + count


@command
def render(ctx: JobContext, frame: int) -> str:
    return f"render {frame} {ctx.cpus}"


@command(products="*.png")
def render_all(ctx: JobContext, scene: str) -> list[str]:
    return ["render", scene, ctx.host]


def contexts() -> None:
    assert_type(save("a", times=2), Job[int])
    assert_type(save(text="a"), Job[int])
    assert_type(save(last("a")), Job[int])
    assert_type(save.map(["a"], times=2), JobArray[int])
    assert_type(save.with_options(mem="1G")("a"), Job[int])
    assert_type(save.plan("a"), Plan[Job[int]])
    assert_type(only_context(), Job[str])
    assert_type(rank(2.0), Job[list[float]])
    assert_type(last("a"), Job[str])
    assert_type(nested(2), Job[int])
    assert_type(nested_later(), Job[int])
    assert_type(render(frame=3), Job[Finished])
    assert_type(render_all("house"), Job[Finished])
    save(1)  # type: ignore[call-overload]
    save("a", time=2)  # type: ignore[call-overload]
    only_context(1)  # type: ignore[call-overload]
    rank("2")  # type: ignore[call-overload]
    nested("2")  # type: ignore[call-overload]
    render("house")  # type: ignore[call-overload]


def parameters_that_take_any_object() -> None:
    assert_type(first_is_any_object("a", 2), Job[str])
    assert_type(first_is_any_object(item="a", times=2), Job[str])
    assert_type(first_is_anything("a"), Job[list[Any]])
    assert_type(untyped("a", 2), Job[Any])  # pyright: ignore[reportAssertTypeFailure]
    assert_type(untyped(item="a", times=2), Job[Any])  # pyright: ignore[reportAssertTypeFailure]
    assert_type(any_number(1, "a", b=2), Job[int])
    assert_type(any_number(), Job[int])
    first_is_any_object("a")  # type: ignore[call-overload]
    first_is_anything()  # type: ignore[call-overload]


train = command("python train.py lr={lr}", files=["conf/"], products="model.pt", time="1:00:00")


@command(products=["*.h5"], check="h5check {product}", mem="4G")
def simulate(config: str, n: int = 0) -> list[str | int]:
    return ["simulate", config, n]


@command
def report() -> str:
    return "make report"


def commands() -> None:
    job = train(lr=0.1)
    assert_type(job, Job[Finished])
    assert_type(train.map([1, 2]), JobArray[Finished])
    assert_type(simulate("a", n=2), Job[Finished])
    assert_type(report().result(), Finished)
    simulate(1)  # type: ignore[call-overload]
    train.with_options(memory="1G")  # type: ignore[call-overload]

    @command  # type: ignore[arg-type]
    def wrong() -> int:
        return 1


@workflow(time="1-00:00:00")
def flow(x: int) -> float:
    return x / 2


def workflows(cluster: Cluster) -> None:
    job = flow(1)
    assert_type(job, Job[float])
    assert_type(flow.map([1, 2]), JobArray[float])
    assert_type(job.children(), list[Job[Any] | JobArray[Any]])
    child = job.children()[0]
    if child.is_array:
        assert_type(child, JobArray[Any])  # pyright: ignore[reportAssertTypeFailure]
    else:
        assert_type(child, Job[Any])  # pyright: ignore[reportAssertTypeFailure]
    assert_type(cluster.graph(job), Graph)
    assert_type(current_workflow(), WorkflowContext)
    flow("1")  # type: ignore[call-overload]


def calls() -> None:
    assert_type(add(1), Job[int])
    assert_type(add(1, b=2).result(timeout=3), int)
    assert_type(name(1.5, upper=True).result(), str)
    assert_type(add(1).exception(), BaseException | None)
    assert_type(add.unwrapped(1, 2), int)
    assert_type(add(1).fetch("out/*.h5", to="here"), list[Path])
    assert_type(add.map([1, 2]).fetch(to=Path("here"), wait=False), list[list[Path]])
    assert_type(add(1).files()[0].size, int)
    assert_type(fence([add(1), add.map([1])], "moved"), list[Job[Any]])
    add(1).fetch("out/*.h5")  # type: ignore[call-arg]
    fence(add(1))  # type: ignore[call-arg]

    add()  # type: ignore[call-overload]
    add("1")  # type: ignore[call-overload]
    add(1, c=2)  # type: ignore[call-overload]
    name(1.5, True)  # type: ignore[call-overload]
    add.unwrapped("1")  # type: ignore[arg-type]
    result: str = add(1).result()  # type: ignore[assignment]
    del result


def placeholders() -> None:
    assert_type(add(add(1)), Job[int])
    assert_type(add(add(1), 2), Job[int])
    assert_type(add(1, add(2)), Job[int])
    assert_type(add(add(1), add(2)), Job[int])
    assert_type(total(add.map([1, 2])), Job[int])
    assert_type(total(add.map([1, 2])[1:]), Job[int])


def arrays() -> None:
    jobs = add.map(range(3), range(3), max_concurrent=2)
    assert_type(jobs, JobArray[int])
    assert_type(add.starmap([(1, 2), {"a": 1}]), JobArray[int])
    assert_type(add.map(range(3), strict=True, b=2), JobArray[int])
    assert_type(add.starmap([(1,)], b=add(1)), JobArray[int])
    assert_type(add.with_options(env={"A": "1", "B": None})(1), Job[int])
    assert_type(jobs[0], Job[int])
    assert_type(jobs[1:], JobArray[int])
    assert_type(list(jobs), list[Job[int]])
    assert_type(jobs.results(), list[int])
    assert_type(jobs.results(5.0, return_exceptions=False), list[int])
    assert_type(jobs.results(return_exceptions=True), list[int | BaseException])
    assert_type(jobs.exceptions(), list[BaseException | None])
    assert_type(jobs.as_completed(), Iterator[Job[int]])
    assert_type(jobs.states()[JobState.RUNNING], int)
    add.map(1)  # type: ignore[arg-type]
    wrong: JobArray[str] = jobs  # type: ignore[assignment]
    right: JobArray[object] = jobs
    del wrong, right


def several() -> None:
    jobs = add.map([1])
    assert_type(gather(add(1), jobs), list[int])
    assert_type(gather(add(1), jobs, return_exceptions=True), list[int | BaseException])
    assert_type(wait([add(1), jobs], 5, FIRST_COMPLETED).done, set[Job[Any]])
    assert_type(as_completed([add(1), add(2)]), Iterator[Job[int]])
    assert_type(as_completed(jobs), Iterator[Job[int]])
    assert_type(as_completed([add(1), jobs]), Iterator[Job[Any]])
    gather(1)  # type: ignore[call-overload]
    wait(jobs, return_when="SOME_COMPLETED")  # type: ignore[arg-type]


async def awaited() -> None:
    assert_type(await add(1), int)
    assert_type(await name(1.0), str)


def options(cluster: Cluster) -> None:
    assert_type(add.with_options(time=5, mem=None)(1), Job[int])
    assert_type(add.after(add(1), add.map([1]), on="any")(1), Job[int])
    assert_type(add.on(cluster)(1), Job[int])
    add.with_options(memm="4G")  # type: ignore[call-overload]
    add.with_options(requeue="yes")  # type: ignore[call-overload]
    add.with_options(time="1")("1")  # type: ignore[call-overload]
    assert_type(add.after("123", 4, on="failure")(1), Job[int])
    add.after(1.5)  # type: ignore[arg-type]
    add.after(on="sucess")  # type: ignore[arg-type]
    task(memm="4G")  # type: ignore[call-overload]
    Cluster("local", options={"memm": "4G"})  # type: ignore[arg-type]


@task(ntasks=4, gather=True)
def share(part: int) -> float:
    return part / 4


def ranks(flag: bool, cluster: Cluster) -> None:
    assert_type(share(1), Job[list[float]])
    assert_type(share.map([1, 2]).results(), list[list[float]])
    assert_type(share.unwrapped(1), float)
    assert_type(share.with_options(time=5).after(share(1)).on(cluster)(2).result(), list[float])
    assert_type(share.with_options(gather=True)(1).result(), list[float])
    assert_type(add.with_options(gather=True)(1).result(), list[int])
    assert_type(add.with_options(gather=True).unwrapped(1), int)
    assert_type(task(gather=False)(add.unwrapped)(1).result(), int)
    cluster.script(share)
    assert_type(add.plan(1), Plan[Job[int]])
    assert_type(add.plan(1).submit(), Job[int])
    assert_type(cluster.plan(add, [(1,)]).submit(), JobArray[int])
    add.plan("1")  # type: ignore[call-overload]
    assert_type(task(gather=flag)(add.unwrapped)(1), Job[Any])
    share("1")  # type: ignore[call-overload]


def clusters() -> None:
    with Cluster("local", options={"partition": ["a", "b"]}) as cluster:
        assert_type(cluster, Cluster)
        assert_type(cluster.activate(), Cluster)
        assert_type(cluster.job("f/1"), Job[Any] | JobArray[Any])
        executor = cluster.executor(mem="1G")
        assert_type(executor.submit(add.unwrapped, 1).result(), int)
        assert_type(executor.submit(add.unwrapped, 1).job, Job[int])
        assert_type(list(executor.map(add.unwrapped, [1])), list[int])
        assert_type(executor.submit(add.unwrapped, executor.submit(add.unwrapped, 1)), JobFuture[int])
        executor.submit(add.unwrapped, "1")  # type: ignore[call-overload]
        assert_type(Cluster.current(), Cluster)


def signatures(plain: Callable[[int], str], ctx: JobContext) -> None:
    assert_type(task(plain), Task[[int], str])
    assert_type(ctx.index, int)
    assert_type(current_job(), JobContext)
