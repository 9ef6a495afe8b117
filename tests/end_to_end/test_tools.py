"""A tool from its declaration to its products: prepared, submitted, and read back, on every place."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, command
from slurm.errors import DependencyFailed
from slurm.tools.errors import RunDirectoryError, TemplateError, ToolError
from slurm.tools.stage import Stage
from slurm.tools.tool import Tool
from waiting import until

if TYPE_CHECKING:
    from slurm import Cluster

SOLVE = """\
import pathlib, sys
lines = [line.partition("#")[0] for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
config = dict(line.split(": ") for line in lines if line)
if int(config["steps"]) < 0:
    sys.exit("steps must not be negative")
pathlib.Path("field.txt").write_text(str(int(config["steps"]) ** 2))
"""
REPORT = """\
import pathlib, sys
pathlib.Path("report.txt").write_text(f"{sys.argv[2]}: {pathlib.Path(sys.argv[1]).read_text()}")
"""


@pytest.fixture
def solver(tmp_path: Path) -> type[Tool]:
    """A tool of two stages, with one template."""
    template = tmp_path / "templates" / "small"
    template.mkdir(parents=True)
    (template / "case.yaml").write_text("# A small case\nsteps: 3  # of the solver\n")
    (template / "solve.py").write_text(SOLVE)
    (template / "report.py").write_text(REPORT)

    class Solver(Tool):
        name, taxonomy, config = "solver", ("site", "case_id"), "case.yaml"
        templates = tmp_path / "templates"
        solve = Stage("python3 config/solve.py {config}", products=["field.txt"], cpus_per_task=1)
        report = Stage("python3 config/report.py {solve}/field.txt {case_id}", products=["report.txt"])

    return Solver


def tree(directory: Path) -> dict[str, str]:
    """The digests of all files of a directory."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_a_run_is_prepared_submitted_and_opened_again(cluster: Cluster, solver: type[Tool], tmp_path: Path) -> None:
    results = tmp_path / "results"
    run = solver.prepare("ref1", template="small", override={"steps": 4}, root=results, site="north", case_id=17)
    assert run.directory == results / "solver" / "north" / "17" / "ref1"
    assert (run.directory / "config/case.yaml").read_text() == "# A small case\nsteps: 4  # of the solver\n"
    prepared = tree(run.directory)
    plans = run.plan()
    assert list(plans) == ["solve", "report"]
    assert "field.txt" not in str(plans["report"].files)
    assert tree(run.directory) == prepared
    jobs = run.submit()
    assert [product.name for product in jobs["report"].result().products] == ["report.txt"]
    (fetched,) = jobs["report"].fetch("output/report.txt", to=tmp_path / "got")
    assert fetched.read_text() == "17: 16"
    again = solver.open(run.directory)
    assert {name: str(status.state) for name, status in again.status().items() if status} == {
        "solve": "COMPLETED", "report": "COMPLETED",
    }  # fmt: skip
    assert {name: digest for name, digest in tree(run.directory).items() if name in prepared} == prepared
    assert again.jobs["solve"].labels == {"tool": "solver", "run": "ref1", "stage": "solve"}


def test_a_stage_is_submitted_once_unless_it_is_asked_for_again(
    local: Cluster, solver: type[Tool], tmp_path: Path
) -> None:
    run = solver.prepare("r", template="small", root=tmp_path / "results", site="n", case_id="1")
    first = run.submit("solve")["solve"]
    with pytest.raises(ToolError, match=f"solve of .* was submitted already, as {first.key}: write again=True"):
        run.submit("solve")
    second = run.submit("solve", again=True)["solve"]
    assert first.key != second.key
    report = run.submit("report")["report"]  # after the newest solve
    assert report.result().products
    assert run.jobs["solve"].key == second.key


def test_a_stage_whose_upstream_failed_does_not_start(local: Cluster, solver: type[Tool], tmp_path: Path) -> None:
    run = solver.prepare("r", template="small", override={"steps": -1}, root=tmp_path, site="n", case_id="1")
    jobs = run.submit()
    until(lambda: jobs["report"].status().state.final)
    assert [health.problem for health in run.verify("report")][-1] == "it was not run: stage solve has ended as FAILED"
    with pytest.raises(DependencyFailed):
        jobs["report"].result()
    error = jobs["solve"].exception()
    assert "steps must not be negative" in str(error)


def test_a_script_does_by_hand_what_the_job_does(local: Cluster, solver: type[Tool], tmp_path: Path) -> None:
    run = solver.prepare("r", template="small", root=tmp_path / "results", site="n", case_id="1")
    here = tmp_path / "by hand"
    here.mkdir()
    for stage, more in (("solve", {}), ("report", {"solve": str(here)})):
        script = run.directory / "stages" / f"{stage}.sh"
        subprocess.run(["bash", script], cwd=here, env={**os.environ, **more}, check=True)
    assert (here / "report.txt").read_text() == "1: 9"
    assert "#SBATCH --cpus-per-task=1" in (run.directory / "stages/solve.sh").read_text()


def test_what_was_prepared_is_prepared_once(local: Cluster, solver: type[Tool], tmp_path: Path) -> None:
    solver.prepare("r", template="small", root=tmp_path, site="n", case_id="1")
    with pytest.raises(RunDirectoryError, match="prepared already"):
        solver.prepare("r", template="small", root=tmp_path, site="n", case_id="1")
    one, two = (
        solver.prepare("r", template="small", root=tmp_path / "u", site="n", case_id="1", unique=True) for _ in "12"
    )
    assert one.directory != two.directory


def test_bad_input_is_told_before_anything_is_written(local: Cluster, solver: type[Tool], tmp_path: Path) -> None:
    root = tmp_path / "results"
    with pytest.raises(ToolError, match="no 'sit' in its taxonomy: did you mean 'site'"):
        solver.prepare("r", template="small", root=root, sit="n", case_id="1")
    with pytest.raises(ToolError, match="needs case_id="):
        solver.prepare("r", template="small", root=root, site="n")
    with pytest.raises(TemplateError, match="did you mean 'steps'"):
        solver.prepare("r", template="small", override={"step": 1}, root=root, site="n", case_id="1")
    with pytest.raises(TemplateError, match="no template 'smal'"):
        solver.prepare("r", template="smal", root=root, site="n", case_id="1")
    assert not root.exists()


def test_a_product_whose_path_is_too_long_for_the_program_is_told(
    local: Cluster, solver: type[Tool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = f"{tmp_path}/results/solver/n/1/r/output/report/report.txt"
    monkeypatch.setattr(solver, "max_path", len(longest) - 3)
    with pytest.raises(ToolError, match=r"report\.txt has \d+ characters, .* a root that is 3 characters shorter"):
        solver.prepare("r", template="small", root=tmp_path / "results", site="n", case_id="1")
    assert not (tmp_path / "results").exists()
    monkeypatch.setattr(solver, "max_path", len(longest))
    assert solver.prepare("r", template="small", root=tmp_path / "results", site="n", case_id="1").directory.is_dir()


def test_another_place_is_refused(local: Cluster, solver: type[Tool], tmp_path: Path) -> None:
    run = solver.prepare("r", template="small", root=tmp_path, site="n", case_id="1")
    with pytest.raises(ToolError, match="another place: prepare another run"):
        run.submit(on="local:///elsewhere")
    assert not (run.directory / "submissions").exists()


def test_all_of_a_run_can_be_submitted_again_at_another_place(
    local: Cluster, solver: type[Tool], tmp_path: Path
) -> None:
    run = solver.prepare("r", template="small", root=tmp_path, site="n", case_id="1")
    other = f"local://{tmp_path}/other"
    before = command("sh -c 'while [ ! -e {go} ]; do sleep 0.1; done'")(go=tmp_path / "go")
    waits = run.submit(depend_afterok=[str(before.job_id)])
    with pytest.raises(ToolError, match=r"stage solve of .* is PENDING at .*: cancel its job"):
        run.submit(again=True, on=other)
    (tmp_path / "go").touch()
    assert waits["report"].result().products
    with pytest.raises(ToolError, match=r"solve of .* was submitted to .* one place: submit all of them there"):
        run.submit("report", again=True, on=other)
    found = tree(run.directory)
    assert list(run.plan(again=True, on=other)) == ["solve", "report"]
    assert tree(run.directory) == found
    elsewhere = Cluster(other, options={"env": {"WHERE": "other"}, "cpus_per_task": 2})
    jobs = run.submit(again=True, on=elsewhere)
    assert jobs["report"].result().products
    assert tree(run.directory)["stages/solve.sh"] == found["stages/solve.sh"]
    moved = run.directory / "stages/solve.2.sh"
    assert f", at {other}." in moved.read_text()
    assert "#SBATCH --cpus-per-task=2" in moved.read_text()
    assert moved.read_text() == (Path(jobs["solve"].directory) / "work/0/attempt-1/stages/solve.sh").read_text()
    by_hand = tmp_path / "by hand"
    by_hand.mkdir()
    done = subprocess.run(
        ["bash", "-x", run.directory / "stages/solve.sh"], cwd=by_hand, check=True, capture_output=True, text=True
    )
    assert "solve.last.sh" in done.stderr
    assert "export WHERE=other" in moved.read_text()
    assert (by_hand / "field.txt").read_text() == "9"
    assert jobs["report"].directory.startswith(f"{tmp_path}/other/")
    opened = solver.open(run.directory)
    assert {str(status.state) for status in opened.status().values() if status} == {"COMPLETED"}
    assert all(each.ok for each in opened.verify())
    assert opened.submit("report", again=True)["report"].directory.startswith(f"{tmp_path}/other/")


def test_a_declaration_that_cannot_work_is_an_error_of_its_class() -> None:
    with pytest.raises(ToolError, match="run after each other"):

        class Circle(Tool):
            name = "circle"
            a = Stage("true", after="b")
            b = Stage("true", after="a")

    with pytest.raises(ToolError, match="is not another stage"):

        class Unknown(Tool):
            name = "unknown"
            a = Stage("true", after="c")
