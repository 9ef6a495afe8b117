"""Workflows: functions that run as jobs and submit tasks from there, the same here, on Slurm and over SSH."""

from __future__ import annotations

from slurm import Cluster, Job, JobArray, WorkflowContext, current_workflow, task, workflow


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
    return {"joined": add(left, right[0]), "right": right, "seen": [job.key for job in ctx.children()]}


def test_a_diamond_within_a_workflow_and_what_is_known_of_it_afterwards(cluster: Cluster) -> None:
    job = diamond(3)
    result = job.result(60)
    children = job.children()
    assert (result["joined"], result["right"]) == (16, [8, 6])
    assert [child.key.partition("/")[0] for child in children] == ["add", "double", "double", "add"]
    assert result["seen"] == [child.key for child in children]
    top, left, right, joined = children
    assert isinstance(right, JobArray)
    assert isinstance(joined, Job)
    assert (top.result(), left.result(), right.results(), joined.result()) == (4, 8, [8, 6], 16)  # type: ignore[union-attr]
    assert {child.key for child in children} <= {other.key for other in cluster.jobs()}
