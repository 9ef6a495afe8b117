"""Adaptive searches whose drivers are killed, and whose points are stopped, on each scheduler."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from slurm import JobContext, task
from slurm.cli.main import slurm
from slurm.sweeps import State, Sweep, uniform
from slurm.testing import InlineCluster
from timing import set_timings

if TYPE_CHECKING:
    from slurm import Cluster

TRIALS = 13
SCRIPT = textwrap.dedent(
    """
    import os, signal, sys, tempfile
    from slurm import Cluster, task
    from slurm.places.place import Place
    from slurm.schedulers.client import SchedulerClient
    from slurm.sweeps import Sweep, uniform
    from slurm.sweeps.directory import SweepDirectory

    _, url, begun, sweeps, death, trials = sys.argv

    @task
    def work(x):
        os.close(tempfile.mkstemp(prefix=f"{x}.", dir=begun)[0])
        return {"loss": (x - 0.3) ** 2}

    def die_at(owner, name, count):
        method, calls = getattr(owner, name), []

        def dying(*args, **keywords):
            result = method(*args, **keywords)
            calls.append(1)
            if len(calls) == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, dying)

    if death == "ask":
        die_at(SweepDirectory, "extend", 12)  # the point is there, and no shard of it
    elif death == "record":
        die_at(SweepDirectory, "claim", 12)  # the record of the shard is written
    elif death == "queue":
        die_at(SchedulerClient, "submit", 12)
    Place.timings = Place.timings._replace(abandoned_claim=2.0)
    sweep = Sweep(work, {"x": uniform(0, 1)}, name="search", directory=sweeps, sampler="tpe", metric="loss", seed=5)
    sweep.run(on=[(Cluster(url), 1)], trials=int(trials)).drive()
    """
)


@task
def bowl(x: float) -> dict[str, float]:
    return {"loss": (x - 0.3) ** 2}


@pytest.mark.parametrize("death", ["ask", "record"])
def test_search_of_a_killed_driver_goes_on_as_if_nothing_had_happened(
    local: Cluster, death: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_and_complete(local, death, tmp_path, monkeypatch)


def test_search_of_a_driver_that_died_when_it_had_queued_goes_on(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_and_complete(cluster, "queue", tmp_path, monkeypatch)


def kill_and_complete(cluster: Cluster, death: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill a driver at its twelfth point, go on with another, and compare with a search that nobody has killed."""
    set_timings(monkeypatch, abandoned_claim=2.0)
    script, begun, sweeps = tmp_path / "script.py", tmp_path / "begun", tmp_path / "sweeps"
    script.write_text(SCRIPT)
    begun.mkdir()
    words = [sys.executable, str(script), cluster.url, str(begun), str(sweeps), death, str(TRIALS)]
    killed = subprocess.run(words, stderr=subprocess.PIPE, text=True, timeout=240, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    sweep = Sweep.open("search", directory=sweeps)
    assert 0 < len(sweep) <= TRIALS
    assert sweep.complete(on=[(cluster, 1)], trials=TRIALS).drive().counts == {State.DONE: TRIALS}
    xs = [point.params["x"] for point in sweep.points]
    assert Counter(name.rpartition(".")[0] for name in os.listdir(begun)) == {json.dumps(x): 1 for x in xs}
    with InlineCluster() as inline:  # nobody is killed here
        other = Sweep(bowl, {"x": uniform(0, 1)}, directory=sweeps, sampler="tpe", metric="loss", seed=5)
        other.run(on=[(inline, 1)], trials=TRIALS).drive()
        assert [point.params["x"] for point in other.points] == xs


@task
def descend(ctx: JobContext, x: float) -> dict[str, float]:
    if x <= 0.8:
        ctx.progress(1, 1, loss=x)
        return {"loss": x}
    ctx.progress(1, 10, loss=10 + x)
    end = time.monotonic() + 240
    while not ctx.should_stop:
        if time.monotonic() > end:
            raise TimeoutError("nobody has asked this point to stop")
        time.sleep(0.1)
    return {"loss": 10 + x}


def test_points_that_are_worse_than_the_median_are_stopped(cluster: Cluster, tmp_path: Path) -> None:
    sweep = Sweep(
        descend,
        {"x": uniform(0, 1)},
        name="pruned",
        directory=tmp_path,
        sampler="random",
        metric="loss",
        seed=1,
        prune="median",
    )
    sweep.run(on=[(cluster, 2)], trials=10)
    assert sweep.drive().counts == {State.DONE: 10}
    bad = [point.number for point in sweep.points if point.params["x"] > 0.8]
    assert [point.number for point in sweep.points if "pruned" in point.metrics] == bad
    status = sweep.status().search
    assert status is not None
    assert (status.ended, status.pruned, status.best) == (10, len(bad), min(p.params["x"] for p in sweep.points))
    assert f"10 trials ended, {len(bad)} pruned; best loss" in str(Sweep.open("pruned", directory=tmp_path).status())


FILE = """\
sweep:
  search:
    lr: {uniform: [1e-5, 0.1], log: true}
    model: {depth: {integer: [2, 8]}, kind: [a, b]}
  sampler: {name: tpe, metric: loss, seed: 3}
task: study_of_rates.py:train
"""
TRAIN = """\
def train(lr: float, model: dict) -> dict:
    return {"loss": lr * model["depth"]}
"""


def test_a_search_of_a_file_is_run_and_completed_from_a_shell(
    local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("rates.yaml").write_text(FILE)
    Path("study_of_rates.py").write_text(TRAIN)

    def sweep(*argv: str, status: int = 0) -> str:
        sys.modules.pop("study_of_rates", None)  # as a new process
        found = CliRunner().invoke(slurm, ["sweep", *argv])
        assert found.exit_code == status, found.output + repr(found.exception)
        return found.output

    on = ("--on", f"{local.url}:2")
    assert "lr, model.depth, model.kind" in sweep("validate", "rates.yaml")
    assert "--trials" in sweep("run", "rates.yaml", *on, status=2)
    assert not Path("sweeps").exists()
    assert "rates: 4 points: 4 done" in sweep("run", "rates.yaml", *on, "--trials", "4")
    sweep("complete", "rates", *on, "--trials", "6")
    (status,) = json.loads(sweep("status", "rates", "--json"))
    (best,) = json.loads(sweep("table", "rates", "--best", "loss", "--json"))
    assert (status["counts"], status["search"]["ended"]) == ({"done": 6}, 6)
    assert (status["search"]["best"], status["search"]["point"]) == (best["loss"], best["point"])
    assert f"best loss {best['loss']:.6g}, at point {best['point']}" in sweep("status", "rates")
