"""Plans on every URL: they change nothing there, and what they show is what is submitted."""

from __future__ import annotations

import os
from pathlib import Path

from slurm import Cluster, Job, WorkflowContext, task, workflow


@task(time="5", labels={"sweep": "depths"})
def square(x: int) -> int:
    return x * x


@workflow
def planning(x: int, ctx: WorkflowContext | None = None) -> list[str]:
    assert ctx is not None
    plan = square.plan(x)
    children = Path(ctx.directory, "children")
    before = os.listdir(children) if children.exists() else []
    job = plan.submit()
    assert job.result() == x * x
    return [plan.key, job.key, *before]


def test_a_plan_is_submitted_as_it_was_shown(cluster: Cluster) -> None:
    root = Path(cluster.place.url.root or "")
    plan = cluster.plan(square, [(2,), (3,)])
    first = square.plan(2)
    assert not root.exists()
    jobs = plan.submit()
    assert (jobs.key, jobs.results(60), jobs.labels) == (plan.key, [4, 9], {"sweep": "depths"})
    assert first.submit().result(60) == 4
    for name in ("script.sh", "calls.pkl", "calls.idx"):
        assert Path(jobs.directory, name).stat().st_size == plan.files[f"jobs/{plan.key}/{name}"]
    assert Path(jobs.directory, "script.sh").read_text() == plan.script
    chained = square.plan(jobs[0])
    assert chained.submit().result(60) == 16


def test_a_plan_in_a_workflow_is_no_child_of_it(cluster: Cluster) -> None:
    planned, submitted, *before = planning(3).result(90)
    assert (planned, before) == (submitted, [])
    child = cluster.job(planned)
    assert isinstance(child, Job)
    assert child.result(60) == 9
