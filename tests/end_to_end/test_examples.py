"""The examples run as they are, here and on Slurm, and print the same."""

from __future__ import annotations

import html
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, CommandFailed, JobCancelled
from slurm.sweeps import Sweep
from waiting import until

if TYPE_CHECKING:
    from testbed import SlurmTestbed

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(example: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / example, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_invert_prints_what_the_picture_in_the_readme_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    printed = run("invert.py")

    assert printed == "[1.0, 0.5, ZeroDivisionError('division by zero'), 0.25]\n"
    text = re.sub(r"<[^>]*>", "", (EXAMPLES.parent / "docs" / "terminal.svg").read_text())
    assert printed.strip() in html.unescape(text).replace("\xa0", " ")


@pytest.fixture(scope="module")
def digits_here(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run("digits.py", "--root", tmp_path_factory.mktemp("digits"))


def test_digits_picks_the_most_accurate_model(digits_here: str) -> None:
    header, *rows = digits_here.partition("\n\n")[0].splitlines()
    table = [(float(row.split()[0]), row.split(maxsplit=1)[1]) for row in rows]

    assert header.split() == ["accuracy", "model"]
    assert len(table) == 8
    assert table == sorted(table, reverse=True)
    assert table[0][0] > 0.9
    assert f"\n{table[0][1]} on digits that were held back" in digits_here


def test_digits_reports_on_what_was_held_back(digits_here: str) -> None:
    accuracy = re.search(r"^ *accuracy +([\d.]+) +450$", digits_here, re.MULTILINE)

    assert accuracy is not None
    assert float(accuracy[1]) > 0.9


def test_digits_shows_its_plan_and_writes_nothing(root: Path) -> None:
    printed = run("digits.py", "--root", root, "--plan")

    assert re.search(r"^calls +8 calls in 2 elements$", printed, re.MULTILINE)
    assert re.search(r"^labels +study=digits$", printed, re.MULTILINE)
    assert not root.exists()


@pytest.mark.slurm
def test_digits_prints_the_same_on_slurm(digits_here: str, slurm_env: SlurmTestbed, root: Path) -> None:
    assert run("digits.py", "slurm", "--root", root) == digits_here


def test_minimum_closes_in_on_it_round_by_round(root: Path) -> None:
    printed = run("minimum.py", "--root", root, "--rounds", "2")

    assert printed.startswith("the minimum is at 1.250\n\nround 1: 2.500\nround 2: 1.250\n\nflowchart TD")
    assert printed.count("cost × 9<br/>9 COMPLETED") == 2


def test_estimate_computes_only_new_blocks(root: Path) -> None:
    assert run("estimate.py", "--root", root, "--blocks", "2").endswith("2 blocks, 0 of them from earlier runs\n")
    assert run("estimate.py", "--root", root, "--blocks", "3").endswith("3 blocks, 2 of them from earlier runs\n")
    again = run("estimate.py", "--root", root, "--blocks", "3")
    assert again.startswith("π ≈ 3.14")
    assert again.endswith("3 blocks, 3 of them from earlier runs\n")


@pytest.mark.slurm
def test_estimate_prints_the_same_on_slurm(slurm_env: SlurmTestbed, root: Path) -> None:
    here = run("estimate.py", "--root", root / "here", "--blocks", "2")
    assert run("estimate.py", "slurm", "--root", root / "there", "--blocks", "2") == here


needs_the_solver = pytest.mark.skipif(
    not shutil.which("glpsol") and not os.environ.get("SLURMTASKS_REQUIRE_SLURM"), reason="needs glpsol"
)
WAREHOUSES = """\
rent  warehouses  cost
   5           3   191
  20           3   236
  60           3   356
 150           2   554
 400           1   815

changes of warehouse: Arlon 1, Bergen 1, Como 2, Delft 1, Espoo 1, Faro 2, Ghent 1
"""


@needs_the_solver
def test_warehouses_runs_a_solver_for_each_rent(root: Path) -> None:
    assert run("warehouses.py", "--root", root) == WAREHOUSES
    assert sorted(re.sub(".*-", "", path.name) for path in (root / "blobs").glob("*-file")) == ["file"] * 4


@pytest.mark.slurm
@needs_the_solver
def test_warehouses_prints_the_same_on_slurm(slurm_env: SlurmTestbed, root: Path, tmp_path: Path) -> None:
    before = slurm_env.run("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "true").stdout.strip()
    assert run("warehouses.py", "slurm", "--root", root, "--after", before, "--to", tmp_path / "plans") == WAREHOUSES
    assert len(list((tmp_path / "plans").rglob("plan.csv"))) == 5


TOOL = "relax: relaxed.txt ranges.txt\nsolve: solution.txt\n"


@needs_the_solver
def test_a_third_tool_runs_here(root: Path, tmp_path: Path) -> None:
    assert run("linear_programs.py", "--root", root, "--runs", tmp_path / "runs") == TOOL


@pytest.mark.slurm
@needs_the_solver
def test_a_third_tool_runs_on_slurm(slurm_env: SlurmTestbed, root: Path, tmp_path: Path) -> None:
    assert run("linear_programs.py", "slurm", "--root", root, "--runs", tmp_path / "runs") == TOOL


@needs_the_solver
def test_a_third_tool_names_its_failures(local: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    from linear_programs import Glpsol  # type: ignore[import-not-found]

    template = shutil.copytree(EXAMPLES / "glpsol-templates" / "warehouses", tmp_path / "impossible")
    model = template / "model.mod"
    model.write_text(model.read_text().replace("share[w, t] <= open[w]", "share[w, t] <= open[w] - 1"))
    run = Glpsol.prepare("r", problem="towns", template=str(template), root=tmp_path / "runs")
    error = run.submit()["relax"].exception()
    assert isinstance(error, CommandFailed)
    assert error.diagnosis == "INFEASIBLE"


def test_quadrature_is_one_world_here(root: Path) -> None:
    pytest.importorskip("mpi4py", reason="quadrature.py needs mpi4py and mpich: pip install mpi4py mpich")
    printed = run("quadrature.py", "--root", root)

    assert printed.splitlines() == ["π ≈ 3.14160099 from 2 processes", "π ≈ 3.14159265 from 2 processes"]


@pytest.mark.slurm
def test_quadrature_is_one_world_on_slurm(slurm_env: SlurmTestbed, root: Path) -> None:
    pytest.importorskip("mpi4py", reason="quadrature.py needs mpi4py and mpich: pip install mpi4py mpich")
    printed = run("quadrature.py", "slurm", "--mpi", "pmi2", "--root", root)

    assert printed.count("from 2 processes") == 2


QUESTIONS = """\
 86.4% of the points are within 2.0000
 39.3% of the points are within 1.0000
 67.4% of the points are within 1.5000
 54.2% of the points are within 1.2500
 46.9% of the points are within 1.1250
 50.5% of the points are within 1.1875
6 questions answered
"""


def test_questions_are_answered_by_a_task_that_runs(root: Path) -> None:
    assert run("questions.py", "--root", root) == QUESTIONS


def test_questions_that_nobody_asks_any_more_end_their_job(root: Path) -> None:
    words = [sys.executable, str(EXAMPLES / "questions.py"), "--root", str(root)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        client.stdout.readline()
        client.send_signal(signal.SIGINT)
        client.communicate(timeout=60)
    (job,) = Cluster("local", root=root).jobs()
    with pytest.raises(JobCancelled):
        job.result(60)  # type: ignore[union-attr]
    command = ["pgrep", "--full", "--", f"slurm.runner.main.*{re.escape(job.key)}"]
    until(lambda: not subprocess.run(command, capture_output=True, check=False).stdout, timeout=60)


@pytest.mark.slurm
def test_questions_prints_the_same_on_slurm(slurm_env: SlurmTestbed, root: Path) -> None:
    assert run("questions.py", "slurm", "--root", root) == QUESTIONS


@pytest.mark.slurm
def test_hyperparameters_begun_on_slurm_are_completed_here(slurm_env: SlurmTestbed, root: Path, tmp_path: Path) -> None:
    there, here = f"slurm://{root / 'there'}:2", f"local://{root / 'here'}:4"
    words = [sys.executable, str(EXAMPLES / "hyperparameters.py"), "--sweeps", str(tmp_path)]
    with subprocess.Popen([*words, there], stdout=subprocess.DEVNULL) as client:
        until(lambda: len(list((root / "there").glob("jobs/*/*/outcomes/*.json"))) >= 2)
        client.kill()  # its jobs go on
    sweep = Sweep.open("digits", directory=tmp_path)
    assert sweep.cancel() > 0  # so that something is missing, whatever the speed of this machine
    printed = run("hyperparameters.py", "--sweeps", tmp_path, "--complete", here)
    header, best, *_ = printed.splitlines()
    assert header == "200 settings. The best:"
    assert float(best.split()[0]) > 0.8
    sources = {point.source for point in Sweep.open("digits", directory=tmp_path).snapshot().points}
    assert sources == {there.rpartition(":")[0], here.rpartition(":")[0]}


def test_adaptive_search_goes_on_where_it_was(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="adaptive_search.py needs optuna: pip install 'slurm-tasks[adaptive]'")
    for _ in range(2):
        *points, best = run("adaptive_search.py", "--sweeps", tmp_path, f"local://{root}:2").splitlines()
        assert len(points) == 12
        assert best.startswith("best of 12: rate 0.")
    assert Sweep.open("adaptive-search", directory=tmp_path).status().total == 12
