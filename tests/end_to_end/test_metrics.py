"""Metrics of results and of `metrics.json` stand in outcomes: of single calls, chunks, workers, ranks and retries."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from slurm import Cluster, CommandFailed, JobContext, Retry, command, task
from slurm.cli.main import slurm


@task(metrics=True)
def train(rate: float) -> dict[str, float]:
    return {"loss": 1 / rate, "rate": rate}


@task(metrics=True)
def write(x: int, ctx: JobContext | None = None) -> str:
    assert ctx is not None
    path = ctx.output_directory() / "metrics.json"
    stale = path.exists()
    path.write_text(json.dumps({"x": x, "stale": stale, "attempt": ctx.attempt}))
    if ctx.attempt == 1 and x > 1:
        raise OSError(x)
    return "written"


def test_results_stand_in_the_outcomes(cluster: Cluster) -> None:
    one, some = train(0.5), train.map([0.25, 0.0, math.inf], chunk_size=2)
    plain = train.with_options(metrics=False)(0.5)
    assert one.metrics(60) == {"loss": 2.0, "rate": 0.5}
    assert some.metrics(60) == [{"loss": 4.0, "rate": 0.25}, {}, {"loss": 0.0, "rate": math.inf}]
    assert some[2].metrics() == {"loss": 0.0, "rate": math.inf}
    assert (plain.result(60), plain.metrics()) == ({"loss": 2.0, "rate": 0.5}, {})
    shown = CliRunner().invoke(slurm, ["show", one.key, "--on", cluster.url]).stdout
    assert "loss=2.0 rate=0.5" in shown


def test_files_of_the_last_attempt_stand_in_the_outcomes(cluster: Cluster) -> None:
    again = write.with_options(retry=Retry(1, on=OSError))
    some, chunk = again.map([1, 2]), again.map([1, 2], chunk_size=2)
    failed = write(2)
    assert some.results(90) == chunk.results(90) == ["written", "written"]
    assert some.metrics() == chunk.metrics() == [{"x": 1, "stale": 0, "attempt": 1}, {"x": 2, "stale": 0, "attempt": 2}]
    assert (type(failed.exception(60)), failed.metrics()) == (OSError, {"x": 2, "stale": 0, "attempt": 1})


measure = command("sh -c 'echo {{\\\"x\\\": $0}} > metrics.json; exit $1' {x} {status}", metrics=True)


def test_each_program_writes_metrics_in_its_directory(cluster: Cluster) -> None:
    failed, chunk = measure(0.5, 3), measure.map([1, 2, 3], [0, 4, 0], chunk_size=3)
    assert chunk.metrics(90) == [{"x": 1}, {"x": 2}, {"x": 3}]
    assert [type(error) for error in chunk.exceptions()] == [type(None), CommandFailed, type(None)]
    assert (type(failed.exception(60)), failed.metrics()) == (CommandFailed, {"x": 0.5})


def test_metrics_of_a_program_are_those_of_the_attempt_that_counts(local: Cluster, tmp_path: Path) -> None:
    flaky = command(
        "sh -c 'mkdir $0 || exit 0; echo {{\\\"x\\\": 1}} > metrics.json; exit 75' {flag}",
        metrics=True,
        retry=Retry(times=1, on=75),
    )
    job = flaky(tmp_path / "flag")
    assert (job.result(60).directory.name, job.metrics()) == ("attempt-2", {})


@pytest.mark.parametrize("options", [{"ntasks": 2}, {"ntasks": 2, "gather": True}])
def test_several_ranks_have_the_metrics_of_the_first(local: Cluster, options: dict[str, object]) -> None:
    assert train.with_options(**options)(0.5).metrics(60) == {"loss": 2.0, "rate": 0.5}  # type: ignore[call-overload]


def test_workers_have_the_metrics_of_each_call(local: Cluster, tmp_path: Path) -> None:
    rates = [0.5, 0.25, 0.125]
    assert train.map(rates, workers=2, chunk_size=3).metrics(60) == [{"loss": 1 / rate, "rate": rate} for rate in rates]
