"""`slurm explain`: why jobs wait or have failed, and what to do."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from slurm import Cluster, task
from slurm.cli.main import slurm
from slurm.protocol.states import JobState
from slurm.testing import InlineCluster
from slurm.views.advice import explained
from slurm.views.overview import overviews
from testbed import SlurmTestbed
from waiting import until


@task(time="5", mem="100M")
def invert(x: int) -> float:
    return 1 / x


def lines(cluster: Cluster, *arguments: str) -> list[str]:
    done = CliRunner().invoke(slurm, ["explain", *arguments, "--on", cluster.url])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_calls_that_failed_are_explained_by_their_errors(cluster: Cluster) -> None:
    jobs = invert.map([0, 1, 0, 2])
    jobs.exceptions(90)
    key = jobs.key
    assert lines(cluster, "last") == [
        f"{key}: 2 COMPLETED, 2 FAILED",
        "[0,2] FAILED: ZeroDivisionError: division by zero",
        f"    `slurm logs {key}[0]` shows its output, and `slurm retry {key} --failed` submits it again",
    ]
    assert json.loads("\n".join(lines(cluster, key, "--json"))) == lines(cluster, key)
    first, second = lines(cluster, f"{key}[1]")
    assert first == f"{key}: 1 COMPLETED"
    assert second.startswith("all succeeded, took ")


@pytest.mark.slurm
def test_a_job_that_waits_is_explained_by_the_reason(slurm_env: SlurmTestbed, root: str) -> None:
    with Cluster("slurm", root=root) as cluster:
        job = invert.with_options(begin="now+1hour")(1)
        until(lambda: job.status().reason == "BeginTime")
        assert lines(cluster, str(job.job_id)) == [
            f"{job.key}: 1 PENDING",
            "PENDING, BeginTime: it waits for its earliest start; after a requeue, Slurm delays a job for some minutes",
        ]
        job.cancel()
        assert job.exception(60) is not None
        assert lines(cluster, "last")[1:] == ["CANCELLED", f"    `slurm retry {job.key}` submits it again"]


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("OUT_OF_MEMORY", "it asked for mem=100M, and its peak was not reported: `slurm retry {key} --failed --mem …`"),
        ("TIMEOUT", "it asked for time=5: `slurm retry {key} --failed --time …`"),
        ("NODE_FAIL", "a problem of the cluster: submit it again with `slurm retry {key} --failed`"),
        ("PREEMPTED", "a problem of the cluster"),
    ],
)
def test_each_end_has_advice(state: str, advice: str) -> None:
    with InlineCluster() as inline:
        inline.queue.play(state, task="invert", element=1)
        jobs = invert.map([1, 1, 1])
        jobs.exceptions(20)
        options = inline.place.store.records(jobs.key).submission.options
        found = explained(overviews([jobs.part])[0], options)
    assert found[0] == f"{jobs.key}: 2 COMPLETED, 1 {JobState(state)}"
    assert found[1].startswith(f"[1] {state}")
    assert found[2].strip().startswith(advice.format(key=jobs.key))
