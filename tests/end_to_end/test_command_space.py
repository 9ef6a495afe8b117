"""`slurm du` and `slurm gc`: space by kind, task, age and job; jobs that nothing needs are removed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from slurm import Cluster, task, workflow
from slurm.cli.main import slurm
from slurm.cli.space import gc_table
from slurm.clusters.job_cleanup import OldJob
from waiting import until


@task
def twice(x: int) -> int:
    if x < 0:
        raise ValueError(x)
    return 2 * x


@task
def length(values: list[str]) -> int:
    return len(values)


@task(reuse=True)
def known(x: int) -> int:
    return x


@task
def wait(path: str, value: int = 0) -> int:
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.01)
    return value


@workflow
def flow(path: str) -> int:
    return int(twice(1).result()) + int(wait(path).result())


def run(*argv: str) -> Result:
    return CliRunner().invoke(slurm, argv)


def told(*argv: str) -> Any:
    done = run(*argv, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_what_is_alive_or_referred_to_stays(cluster: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    free, needed, reused = twice.map([1, 2]), twice.with_options(labels={"keep": "no"})(3), known(4)
    alive = wait(str(gate), needed)
    free.results(90), needed.result(90), reused.result(90)
    until(alive.running)
    found = {job["key"]: job for job in told("gc", cluster.url, "--days", "0", "--dry-run")}
    reasons = {key: job["kept"] for key, job in found.items()}
    assert reasons == {
        free.key: "",
        needed.key: f"{alive.key} refers to it",
        reused.key: "calls with reuse=True take its results",
        alive.key: "it has not ended",
    }
    assert not any(job["removed"] for job in found.values())
    assert told("gc", cluster.url, "--days", "1") == []
    assert told("gc", cluster.url, "--label", "keep=yes") == []
    assert [job["key"] for job in told("gc", cluster.url, "--label", "keep", "--dry-run")] == [needed.key]
    done = run("gc", cluster.url, "--days", "0")
    assert done.stderr.startswith("1 of 4 jobs removed: ")
    assert {job.key for job in Cluster(cluster.url).jobs()} == {needed.key, reused.key, alive.key}
    assert not Path(free.directory).exists() or "ssh" in cluster.url
    gate.touch()
    assert alive.result(90) == 6
    assert {job["key"]: job["removed"] for job in told("gc", cluster.url, "--task", "*")} == {
        needed.key: True,
        alive.key: True,
        reused.key: False,
    }
    assert known(4).key == reused.key
    assert [job["removed"] for job in told("gc", cluster.url, "--days", "0", "--reused")] == [True]
    assert Cluster(cluster.url).jobs() == []


def test_the_children_of_a_workflow_stay_until_it_has_ended(local: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    job = flow(str(gate))
    until(lambda: len(local.jobs()) == 3 and local.jobs("twice")[0].done())
    (child,) = told("gc", local.url, "--task", "twice")
    assert (child["kept"], child["removed"]) == (f"its workflow {job.key} has not ended", False)
    gate.touch()
    assert job.result(90) == 2
    assert [each["removed"] for each in told("gc", local.url, "--days", "0")] == [True, True, True]


def test_a_map_is_chosen_by_the_states_of_all_calls(local: Cluster) -> None:
    good, mixed, bad = twice.map([1, 2]), twice.map([1, -1]), twice(-1)
    for job in (good, mixed):
        job.exceptions(60)
    assert isinstance(bad.exception(60), ValueError)
    assert [job["key"] for job in told("gc", local.url, "--state", "FAILED")] == [bad.key]
    both = told("gc", local.url, "--state", "FAILED", "--state", "COMPLETED", "--dry-run")
    assert {job["key"] for job in both} == {good.key, mixed.key}


def test_a_condition_is_needed(local: Cluster) -> None:
    job = twice(1)
    assert job.result(60) == 2
    for words in ([], ["--dry-run"], ["--reused"]):
        refused = run("gc", local.url, *words)
        assert (refused.exit_code, "say which jobs: --days, --task" in refused.output) == (2, True)
    assert run("gc", local.url, "--days", "1").stderr == "no job meets the conditions\n"
    assert local.job(job.key).done()


def test_at_a_terminal_gc_asks_once(local: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    job = twice(1)
    assert job.result(60) == 2
    words = ("gc", local.url, "--days", "0")
    monkeypatch.setattr("slurm.cli.space.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    asked = CliRunner().invoke(slurm, words, input="n\n")
    assert (asked.exit_code, Path(job.directory).exists()) == (1, True)
    assert asked.stdout.splitlines()[1].startswith(job.key)
    assert "Remove 1 job with all results (" in asked.stderr
    assert "Remove" not in CliRunner().invoke(slurm, [*words, "--dry-run"]).stderr
    other = twice(2)
    assert other.result(60) == 4
    asked = CliRunner().invoke(slurm, [*words, "--task", "tw*", "--json"], input="y\n")
    assert {each["key"]: each["cluster"] for each in json.loads(asked.stdout)} == dict.fromkeys(
        (job.key, other.key), local.url
    )
    assert not Path(job.directory).exists()
    last = twice(3)
    assert last.result(60) == 6
    assert run(*words, "--yes").stderr.startswith("1 of 1 jobs removed")


def test_gc_shows_the_cluster_if_there_are_several() -> None:
    jobs = [OldJob("f/1", 1, 1, "", "local:///there"), OldJob("f/2", 1, 1, "", "slurm"), OldJob("f/3", 1, 1, "", "")]
    assert [row[:2] for row in gc_table(jobs)[1:]] == [("f/1", "local"), ("f/2", "slurm"), ("f/3", "-")]
    assert "CLUSTER" not in gc_table(jobs[1:])[0]


def test_files_that_may_not_be_written_and_what_was_interrupted_are_removed(local: Cluster, root: Path) -> None:
    job = twice(1)
    assert job.result(60) == 2
    (inner := Path(job.directory, "work", "0", "inner")).mkdir(parents=True)
    (inner / "file").touch()
    inner.chmod(0o500)
    (left := root / "jobs" / "twice" / "20260101T000000Z-0a1b2c3d" / "logs").mkdir(parents=True)
    assert told("gc", local.url, "--days", "0", "--dry-run")[-1]["key"] == job.key
    long_ago = time.time() - 2 * 86400
    for path in (left, left.parent):
        os.utime(path, (long_ago, long_ago))
    assert [each["removed"] for each in told("gc", local.url, "--days", "0")] == [True, True]
    assert list((root / "jobs").iterdir()) == []


def test_nothing_is_removed_if_a_record_of_a_job_cannot_be_read(local: Cluster) -> None:
    one, other = twice(1), twice(2)
    assert (one.result(60), other.result(60)) == (2, 4)
    Path(other.directory, "submission.json").write_text("{")
    failed = run("gc", local.url, "--days", "0")
    assert "submission.json is not a valid submission record" in str(failed.exception)
    assert Path(one.directory, "submission.json").exists()


@pytest.mark.slurm
def test_jobs_of_another_scheduler_are_for_a_gc_without_a_cluster(
    root: Path, tmp_path: Path, slurm_env: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Slurmfile").write_text(f'default: mine\nclusters: {{mine: {{url: slurm, root: "{root}"}}}}\n')
    with Cluster("local", root=root):
        job = twice(1)
    assert job.result(60) == 2
    assert told("gc", "mine", "--days", "0") == []
    assert [each["removed"] for each in told("gc", "--days", "0")] == [True]


def test_space_is_told_by_kind_task_age_and_job(cluster: Cluster) -> None:
    assert run("du", cluster.url).stderr.startswith(f"there is nothing in {cluster.place.store.root}\n")
    data = cluster.put(["x" * 300_000])
    many, one = twice.map(range(3)), wait("/")
    other = length(data)
    assert (many.results(90), one.result(90), other.result(90)) == ([0, 2, 4], 0, 1)
    facts = told("du", cluster.url)
    kinds = {item["name"]: item for item in facts["kinds"]}
    assert kinds.keys() == {"jobs", "files", "library"}
    assert (kinds["jobs"]["count"], kinds["library"]["count"]) == (3, 1)
    assert kinds["files"]["bytes"] >= 300_000
    assert {item["name"]: item["count"] for item in facts["groups"]} == {"twice": 1, "wait": 1, "length": 1}
    (today,) = told("du", cluster.url, "--by", "age")["groups"]
    assert (today["name"], today["count"]) == ("today", 3)
    by_job = told("du", cluster.url, "--by", "job", "--limit", "2")["groups"]
    assert len(by_job) == 2
    assert by_job[0]["bytes"] >= by_job[1]["bytes"] > 0
    shown = run("du", cluster.url, "--limit", "1")
    assert [line.split()[1] for line in shown.stdout.splitlines() if line][-2:] == ["JOBS", "1"]
    assert shown.stderr == "2 more: --limit 3\n"
