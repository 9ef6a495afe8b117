"""BayesEoR's plug-in against a stub of its command line, which says so: three stages, and what it says it used."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slurm import CommandFailed
from slurm.errors import DependencyFailed
from slurm.tools import ToolError
from slurm.tools.bayeseor import BayesEoR

if TYPE_CHECKING:
    from slurm import Cluster, Finished, Job
    from slurm.tools import Run, Stage

STUB = Path(__file__).parents[1] / "data" / "bayeseor"


def small(stage: Stage) -> Stage:
    """The same stage without MPI and a GPU, which a test does not have."""
    given = {"mem": None, "gpus": None, "launch": "once", "ntasks": None, "cpus_per_task": None, "time": "5:00"}
    return stage.with_options(**{name: given[name] for name in stage.options})


class Here(BayesEoR):
    templates = BayesEoR.templates_directory()
    max_path = 4000
    cpu_precompute = small(BayesEoR.cpu_precompute)
    signal_fit, no_signal = small(BayesEoR.signal_fit), small(BayesEoR.no_signal)


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(STUB), prepend=":")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")


def prepared(tmp_path: Path, data: dict[str, int], **override: Any) -> Run:
    """A run on these data."""
    file = tmp_path / "data.json"
    file.write_text(json.dumps(data))
    override = {"data_path": str(file), **override}
    return Here.prepare(
        "r1", template="small", override=override, root=tmp_path / "runs", dataset="eor", analysis="small"
    )


def text(job: Job[Finished], name: str, to: Path) -> str:
    """A file that the job wrote."""
    (found,) = job.fetch(f"output/{name}", to=to)
    return found.read_text()


def test_the_fits_take_the_matrices_of_the_first_stage(local: Cluster, tmp_path: Path) -> None:
    run = prepared(tmp_path, {"nf": 38})
    jobs = run.submit()
    assert list(jobs) == ["cpu_precompute", "signal_fit", "no_signal"]
    got = {name: job.result().products for name, job in jobs.items()}
    assert [product.name for product in got["no_signal"]] == ["data-.txt", "args.json"]
    args = json.loads(text(jobs["signal_fit"], "chains/signal_fit/args.json", tmp_path / "a"))
    assert args["array_dir_prefix"] == f"{jobs['cpu_precompute'].result().directory}/matrices"
    assert "1.0 9 -2.0" in text(jobs["signal_fit"], "chains/signal_fit/data-.txt", tmp_path / "b")
    assert "1.0 9 -4.0" in text(jobs["no_signal"], "chains/no_signal/data-.txt", tmp_path / "c")
    assert run.ignored() == []


def test_a_failure_of_the_first_stage_stops_the_others(local: Cluster, tmp_path: Path) -> None:
    run = prepared(tmp_path, {"nf": 38}, data_path="/nowhere/eor.uvh5")
    jobs = run.submit()
    error = jobs["cpu_precompute"].exception()
    assert isinstance(error, CommandFailed)
    assert "/nowhere/eor.uvh5" in str(error)
    for name in ("signal_fit", "no_signal"):
        with pytest.raises(DependencyFailed, match="cpu_precompute"):
            jobs[name].result()


def test_a_value_that_it_did_not_use_is_told(local: Cluster, tmp_path: Path) -> None:
    run = prepared(tmp_path, {"nf": 38}, nf=4, neta=4, sigma=1e-2)
    run.submit()
    assert [str(each) for each in run.ignored()] == [
        f"stage {stage} used nf = 38, not 4 as its configuration says" for stage in ("signal_fit", "no_signal")
    ]

    assert {health.stage: health.word for health in run.verify()} == {
        None: "ok", "cpu_precompute": "ok", "signal_fit": "ignored", "no_signal": "ignored",
    }  # fmt: skip


def test_a_fit_that_was_killed_continues_where_it_was(local: Cluster, tmp_path: Path) -> None:
    run = prepared(tmp_path, {"nf": 38, "stop_after": 4})
    first = run.submit()["signal_fit"]
    assert isinstance(first.exception(), CommandFailed)
    with pytest.raises(ToolError, match="stage cpu_precompute of bayeseor is not resumable; signal_fit, no_signal are"):
        run.submit("cpu_precompute", resume=True)
    second = run.submit("signal_fit", resume=True)["signal_fit"]
    assert "MultiNest starts at iteration 4" in (second.result().directory / "stdout.log").read_text()
    chain = text(second, "chains/signal_fit/data-.txt", tmp_path / "got").splitlines()
    assert [line.split()[1] for line in chain] == [str(number) for number in range(10)]


def test_a_path_that_multinest_does_not_take_is_told_at_prepare(local: Cluster, tmp_path: Path) -> None:
    root = tmp_path / ("x" * 100)
    with pytest.raises(ToolError, match="bayeseor takes paths of at most 100: choose a root that is"):
        BayesEoR.prepare("r1", dataset="eor", analysis="small", template="small", root=root)
    assert not root.exists()
