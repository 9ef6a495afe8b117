"""A batch on real schedulers: calls of several functions in one array, and what the command says of it."""

from __future__ import annotations

import json

from click.testing import CliRunner, Result

from slurm import Cluster, JobContext, task
from slurm.cli.main import slurm


@task
def half(x: int) -> float:
    return x / 2


@task
def describe(ctx: JobContext, text: str) -> str:
    if not text:
        raise ValueError("no text")
    return f"{text} in {ctx.index}"


def run(*argv: str) -> Result:
    return CliRunner().invoke(slurm, argv)


def test_a_batch_is_one_array_that_names_the_function_of_each_call(cluster: Cluster) -> None:
    before = cluster.command_counts().get("submit", 0)
    with cluster.batch() as batch:
        halves, text, bad = half.map([1, 2]), describe("third"), describe("")
    assert cluster.command_counts()["submit"] == before + 1
    assert (halves.results(120), text.result(120)) == ([0.5, 1.0], "third in 2")
    assert str(bad.exception(120)) == "no text"
    assert half(text.key.count("+")).result(120) == 0.5

    key, on = batch.jobs.key, cluster.url
    for name in ("half", "describe", "desc*"):
        assert key in {item["key"] for item in json.loads(run("jobs", on, "--task", name, "--json").stdout)}
    shown = json.loads(run("show", key, "--on", on, "--json").stdout)
    assert (shown["task"], shown["functions"]) == ("half+describe", ["half", "half", "describe", "describe"])
    assert "[3] describe: ValueError: no text" in run("show", key, "--on", on).stdout
    assert json.loads(run("show", f"{key}[2]", "--on", on, "--json").stdout)["task"] == "describe"

    again = batch.jobs.retry_failed(mem="100M")
    assert str(again[0].exception(120)) == "no text"
    assert [named["text"] for named in again.arguments()] == [""]
