"""Workflows: functions that run as jobs and submit tasks from there, the same here, on Slurm and over SSH."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from slurm import (
    Cluster,
    Job,
    JobArray,
    JobCancelled,
    JobState,
    Retry,
    TaskExited,
    WorkflowContext,
    cancel,
    current_job,
    current_workflow,
    task,
    wait,
    workflow,
)
from slurm.errors import OptionError
from slurm.places.place import Place
from slurm.schedulers import submit_and_record
from slurm.schedulers.client import SchedulerClient
from slurm.schedulers.local_queue import client
from waiting import until


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def double(x: int) -> int:
    return 2 * x


@workflow
def diamond(x: int, ctx: WorkflowContext | None = None) -> dict[str, object]:
    top = add(x, 1)
    left, right = double(top), double.map([top, 3])
    assert ctx is current_workflow()
    joined = add(left, right[0])
    seen = [job.key for job in ctx.children()]
    return {"joined": joined, "right": right, "seen": seen, "drawn": [node.key for node in ctx.graph().nodes]}


def test_a_diamond_within_a_workflow_and_what_is_known_of_it_afterwards(cluster: Cluster) -> None:
    job = diamond(3)
    result = job.result(60)
    children = job.children()
    assert (result["joined"], result["right"]) == (16, [8, 6])
    assert [child.key.partition("/")[0] for child in children] == ["add", "double", "double", "add"]
    assert result["seen"] == [child.key for child in children]
    array = children[2]
    assert isinstance(array, JobArray)
    assert array.results() == [8, 6]
    assert {child.key for child in children} <= {other.key for other in cluster.jobs()}

    graph = cluster.graph(job)
    keys = [job.key, *(child.key for child in children)]
    assert sorted(node.key for node in graph.nodes) == sorted(result["drawn"]) == sorted(keys)  # type: ignore[call-overload]
    assert {(node.task, node.count, node.state) for node in graph.nodes} == {
        ("diamond", 1, JobState.COMPLETED),
        ("add", 1, JobState.COMPLETED),
        ("double", 1, JobState.COMPLETED),
        ("double", 2, JobState.COMPLETED),
    }
    waits = [(0, 1, "success"), (0, 2, "any"), (1, 3, "success"), (2, 3, "success")]
    assert {(edge.source, edge.target, edge.kind) for edge in graph.edges} == {
        *((job.key, child.key, "child") for child in children),
        *((children[a].key, children[b].key, kind) for a, b, kind in waits),
    }


@task
def where() -> tuple[str | None, str, str]:
    submission = current_job().submission()
    assert not {"OMP_NUM_THREADS", "SRUN_CPUS_PER_TASK", "PYTHONHASHSEED"} & os.environ.keys()  # the workflow's own
    return submission.parent, submission.options["comment"], os.environ["SET_UP"]


@workflow(comment="its own", cpus_per_task=1)
def inner(x: int) -> tuple[str, int, Job[tuple[str | None, str, str]]]:
    return current_workflow().key, double(x).result(), where()


@workflow
def outer() -> tuple[str, Sequence[Any]]:
    return current_workflow().key, list(inner.map([1, 2]))


def test_nested_workflows_run_on_one_cpu_with_inherited_settings(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(tmp_path / "local"))
    monkeypatch.setenv("SLURMTASKS_LOCAL_CPUS", "1")
    for name in ("OMP_NUM_THREADS", "PYTHONHASHSEED"):
        monkeypatch.delenv(name, raising=False)
    with Cluster("local", root=root, setup=["export SET_UP=yes"], options={"comment": "default"}):
        job = outer()
    key, inners = job.result(60)
    (array,) = job.children()
    assert key == job.key
    assert isinstance(array, JobArray)
    assert [inner[1] for inner in inners] == [2, 4]
    assert [inner[2] for inner in inners] == [(each.key, "default", "yes") for each in array]
    assert [len(each.children()) for each in array] == [2, 2]
    client.stop()


@task
def fail(word: str) -> None:
    raise ValueError(word)


@workflow
def fails(caught: bool) -> str:
    try:
        fail("no").result()
    except ValueError:
        if not caught:
            raise
    return "went on"


def test_failed_child_raises_its_exception_in_the_workflow(local: Cluster) -> None:
    caught, not_caught = fails(True), fails(False)
    assert caught.result(60) == "went on"
    with pytest.raises(ValueError, match="no") as raised:
        not_caught.result(60)
    (child,) = not_caught.children()
    notes = raised.value.__notes__
    assert [child.key in notes[0], not_caught.key in notes[1]] == [True, True]
    assert child.key in not_caught.logs()


@workflow
def submit_for_ever(gate: Path, depth: int) -> None:
    """Workflows below workflows, each of which submits until it is ended."""
    if depth:
        submit_for_ever(gate, depth - 1)
    while True:
        touch.map([gate] * 2)
        (gate.parent / f"{depth}.{os.getpid()}").touch()


@task
def touch(gate: Path) -> None:
    """Runs until the gate opens, and tells if it did."""
    while not gate.exists():
        time.sleep(0.05)
    (gate.parent / f"ran.{os.getpid()}").touch()


@pytest.mark.parametrize("url", ["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def test_cancelled_workflow_ends_all_its_children(
    request: pytest.FixtureRequest, root: Path, tmp_path: Path, url: str
) -> None:
    if url == "slurm":
        request.getfixturevalue("slurm_env")
    with Cluster(url, root=root) as cluster:
        job = submit_for_ever(tmp_path / "gate", 1)
        until(lambda: {path.name[:2] for path in tmp_path.iterdir()} >= {"0.", "1."})
        assert job.cancel()
        with pytest.raises(JobCancelled):
            job.result(30)
        time.sleep(1)  # what was submitted just then would begin to run
        submitted = cluster.jobs()
        done, not_done = wait(submitted, 30)
        assert not not_done
        assert {type(each.exception()) for each in done} == {JobCancelled}
    (tmp_path / "gate").touch()
    assert len(submitted) > 3
    assert not list(tmp_path.glob("ran.*"))


def test_children_go_on_where_that_is_asked_for(local: Cluster, tmp_path: Path) -> None:
    job = submit_for_ever(tmp_path / "gate", 0)
    until(lambda: list(tmp_path.glob("0.*")))
    job.cancel(children=False)
    assert isinstance(job.exception(30), JobCancelled)
    (tmp_path / "gate").touch()
    first, *others = job.children()
    assert first.results(30) == [None, None]  # type: ignore[union-attr]
    cancel(*others)


KILL_IT = "kill -9 $PPID"  # what runs the submit command: the workflow


@workflow(retry=Retry(times=1, on=TaskExited))
def dies_submitting(when: str, trace: Path) -> list[str]:
    """In its first attempt it dies while it submits: before sbatch is started, or before the ids are recorded."""
    first, attempt = append(trace, f"{when}-first"), current_workflow().attempt
    append(trace, f"attempt {attempt}").result()
    Place.timings = Place.timings._replace(abandoned_child=1.0)
    if attempt == 1 and when == "before":
        SchedulerClient.submit = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    elif attempt == 1:
        submit_and_record.recording = lambda *_: KILL_IT
    return [first.result(), append(trace, f"{when}-second").result()]


@task
def append(trace: Path, name: str) -> str:
    (trace / f"{name}.{os.getpid()}").touch()
    return name


def test_workflow_killed_during_a_submission_submits_once(local: Cluster, tmp_path: Path) -> None:
    times = ["before", "after"]
    jobs = dies_submitting.map(times, [tmp_path] * 2)
    names = [[f"{when}-first", f"{when}-second"] for when in times]
    assert jobs.results(100) == names
    assert [job.status().outcome.attempt for job in jobs] == [2, 2]  # type: ignore[union-attr]
    assert sorted(path.stem for path in tmp_path.glob("*-*.*")) == sorted([*names[0], *names[1]])
    for job in jobs:
        (stray,) = [child.key for child in job.children() if child.key in job.logs()]
        assert f"submitted jobs that this attempt does not use: {stray}." in job.logs()


def test_what_only_a_workflow_may_is_refused_elsewhere(local: Cluster) -> None:
    def wants(ctx: WorkflowContext | None = None) -> None: ...

    with pytest.raises(TypeError, match="which only a @workflow is given"):
        task(wants)()
    with pytest.raises(OptionError, match="leave out chunk_size"):
        outer.starmap([(), ()], chunk_size=2)
    with pytest.raises(RuntimeError, match="works only in a workflow"):
        current_workflow()
