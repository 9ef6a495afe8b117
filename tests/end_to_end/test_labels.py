"""Labels: submissions are found by them; children of workflows inherit them, and retries keep them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from click.testing import CliRunner

from slurm import Cluster, WorkflowContext, task, workflow
from slurm.cli.main import slurm


@task(labels={"stage": "fit"})
def half(x: int) -> float:
    return x / 2 if x % 2 == 0 else [][x]


@workflow
def sweep(ctx: WorkflowContext | None = None) -> list[str]:
    assert ctx is not None
    plain, labelled = half(2), half.with_options(labels={"stage": "other", "sweep": None})(2)
    assert (plain.result(), labelled.result()) == (1.0, 1.0)
    return [plain.key, labelled.key, *sorted(os.listdir(Path(ctx.directory, "children")))]


def test_submissions_are_found_by_their_labels(cluster: Cluster) -> None:
    some = half.with_options(labels={"sweep": "depths"}).map([2, 3])
    other = half.with_options(labels={"sweep": "rates", "stage": None})(4)
    assert some.exceptions(60)[0] is None
    assert other.result(60) == 2.0
    again = some.retry_failed(labels={"try": 2})
    assert isinstance(again.exceptions(60)[0], IndexError)
    assert some.labels == some[0].labels == {"stage": "fit", "sweep": "depths"}
    assert other.labels == {"sweep": "rates"}
    assert again.labels == {"stage": "fit", "sweep": "depths", "try": "2"}
    fresh = Cluster(cluster.url)
    assert {job.key for job in fresh.jobs(labels={"sweep": "depths"})} == {some.key, again.key}
    assert [job.key for job in fresh.jobs(labels={"sweep": "depths", "try": 2})] == [again.key]
    assert {job.key for job in fresh.jobs("half", labels={"stage": None})} == {some.key, again.key}
    assert fresh.jobs("half", labels={"sweep": "depths"}, limit=1)[0].key == again.key
    assert fresh.jobs(labels={"sweep": "none"}) == []
    assert fresh.job(other.key).labels == {"sweep": "rates"}


def test_children_of_a_workflow_inherit_its_labels(cluster: Cluster) -> None:
    with Cluster(cluster.url, options={"labels": {"team": "blue"}}) as labelled:
        job = sweep.with_options(labels={"sweep": "depths"})()
        plain, other, *children = job.result(90)
    assert labelled.job(plain).labels == {"team": "blue", "sweep": "depths", "stage": "fit"}
    assert labelled.job(other).labels == {"team": "blue", "stage": "other"}
    assert {name.split(".")[1] for name in children} == {children[0].split(".")[1]}  # labels are in no digest
    assert [name.split(".")[2] for name in children] == ["0", "1"]
    assert {found.key for found in labelled.jobs(labels={"sweep": "depths"})} == {job.key, plain}


def test_the_command_lists_jobs_by_label(local: Cluster) -> None:
    job, other = half.with_options(labels={"sweep": "a b"})(2), half(2)
    assert (job.result(60), other.result(60)) == (1.0, 1.0)

    def run(*arguments: str) -> str:
        return CliRunner().invoke(slurm, [*arguments]).stdout

    found = json.loads(run("jobs", local.url, "--label", "sweep=a b", "--label", "stage", "--json"))
    assert [(item["key"], item["labels"]) for item in found] == [(job.key, {"stage": "fit", "sweep": "a b"})]
    assert run("jobs", local.url, "--label", "sweep=b") == ""
    assert "stage=fit sweep=a b" in run("show", job.key, "--on", local.url)
