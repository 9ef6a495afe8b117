"""A tool as the unit of a sweep: the run directory of each point is prepared on the node."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

from end_to_end.test_tools import REPORT, SOLVE
from slurm import Cluster, CommandFailed, Modules
from slurm.errors import ConfigurationError
from slurm.sweeps import Sweep, grid
from slurm.tools import Diagnosis, Stage, Tool, ToolError

if TYPE_CHECKING:
    from pathlib import Path

CASE = """\
# A case
steps: 3  # of the solver
mesh:
  size: [1, 2]
  kind: &k !Uniform
    order: 2
"""


def diagnose(log: str, exit_status: int) -> Diagnosis | None:
    del exit_status
    return Diagnosis("NEGATIVE", "choose more steps") if "must not be negative" in log else None


@pytest.fixture
def solver(tmp_path: Path) -> type[Tool]:
    template = tmp_path / "templates" / "small"
    template.mkdir(parents=True)
    (template / "case.yaml").write_text(CASE)
    (template / "solve.py").write_text(SOLVE.replace("in lines if line", "in lines if ': ' in line"))
    (template / "report.py").write_text(REPORT)

    class Solver(Tool):
        name, taxonomy, config = "solver", ("site",), "case.yaml"
        templates = tmp_path / "templates"
        solve = Stage("python3 config/solve.py {config}", products=["field.txt"], diagnose=diagnose, cpus_per_task=1)

    return Solver


def is_not_64(product: Path) -> bool:
    return product.read_text() != "64"


def diagnose_report(log: str, exit_status: int) -> Diagnosis | None:
    del exit_status
    return Diagnosis("TOO_LONG", "choose fewer steps") if "report: too long" in log else None


@pytest.fixture
def several(solver: type[Tool]) -> type[Tool]:
    """Two stages, of which each has options, variables, a check and named failures of its own."""
    then = 'echo "$WORDS" > variable.txt; grep -q 49 field.txt && rm variable.txt; :'
    end = 'grep -q 81 "{solve}/field.txt" && echo report: too long >&2 && exit 3; :'

    class Several(solver):  # type: ignore[misc, valid-type]
        templates = solver.templates_directory()
        solve = Stage(
            f"sh -c 'python3 config/solve.py {{config}} || exit; {then}'",
            products=["field.txt", "var*.txt"],
            check=is_not_64,
            diagnose=diagnose,
            env={"WORDS": "a b"},
            time="3",
            mem="100M",
            cpus_per_task=2,
        )
        report = Stage(
            f"sh -c 'python3 config/report.py \"{{solve}}/field.txt\" {{site}}; {end}'",
            products="report.txt",
            check="test -s {product}",
            diagnose=diagnose_report,
            time="2",
            mem="200M",
        )

    return Several


def test_each_point_is_a_run_with_a_directory_of_its_own(cluster: Cluster, solver: type[Tool], tmp_path: Path) -> None:
    values: dict[str, Any] = {"steps": [2, 4], "mesh.size": [(1,), (5, 6)]}
    sweep = Sweep(
        solver.at(site="north", template="small"), grid(**values), name="sizes", directory=tmp_path / "sweeps"
    )
    sweep.run()
    sweep.drive()
    assert [str(point.state) for point in sweep.points] == ["done"] * 4
    found = {}
    for point in sweep.points:
        run = solver.open(point)
        config = (run.directory / "config/case.yaml").read_text()
        steps, size = point.params["steps"], point.params["mesh.size"]
        assert config == CASE.replace("steps: 3", f"steps: {steps}").replace("[1, 2]", str(list(size)))
        assert run.manifest.overrides == point.params
        assert run.manifest.taxonomy == {"site": "north"}
        for name in ("config/case.yaml", "stages/solve.sh", "config/solve.py"):
            digest = hashlib.sha256((run.directory / name).read_bytes()).hexdigest()
            assert run.manifest.files[name] == digest
        assert run.status()["solve"].state == "COMPLETED"  # type: ignore[union-attr]
        assert [(health.stage, health.word) for health in run.verify()] == [(None, "ok"), ("solve", "ok")]
        found[point.number] = (run.directory / "field.txt").read_text()
        with pytest.raises(ToolError, match="submitted by the sweep"):
            run.submit()
    assert list(found.values()) == ["4", "4", "16", "16"]
    assert "mesh.size" in str(sweep.table())


def test_a_failure_of_a_point_has_its_name(local: Cluster, solver: type[Tool], tmp_path: Path) -> None:
    unit = solver.at(site="north", template="small")
    sweep = Sweep(unit, grid(steps=[1, -1]), name="signs", directory=tmp_path / "sweeps").run()
    sweep.drive()
    assert [str(point.state) for point in sweep.points] == ["done", "failed"]
    error = sweep.points[1].exception()
    assert isinstance(error, CommandFailed)
    assert error.diagnosis == "NEGATIVE"
    (group,) = sweep.errors()
    assert "NEGATIVE" in group.pattern
    assert group.suggestion == "choose more steps"
    run = solver.open(sweep.points[1])
    assert "steps: -1" in (run.directory / "config/case.yaml").read_text()
    assert [(health.stage, health.word) for health in run.verify()] == [(None, "ok"), ("solve", "failed")]
    with pytest.raises(ToolError, match="a point of this sweep has the stage solve only, and not report"):
        run.verify("report")


def test_what_a_tool_does_not_take_is_an_error_of_the_sweep(solver: type[Tool], tmp_path: Path) -> None:
    unit = solver.at(site="north", template="small", override={"steps": 5})
    with pytest.raises(ConfigurationError, match=r"case\.yaml has no key 'mesh\.sise': did you mean 'mesh\.size'"):
        Sweep(unit, grid(**{"mesh.sise": [1]}), directory=tmp_path)
    with pytest.raises(ConfigurationError, match="is within another key"):
        Sweep(unit, [{"mesh.kind": 1, "mesh.kind.order": 3}], directory=tmp_path)

    class OfASite(Tool):
        name, taxonomy = "one", ("site",)
        run = Stage("true {site}")

    with pytest.raises(ToolError, match="stage run of one needs site="):
        OfASite.at()
    with pytest.raises(ToolError, match="no 'sit' in its taxonomy"):
        solver.at(template="small", sit="x")

    class Two(solver):  # type: ignore[misc, valid-type]
        templates = solver.templates_directory()
        report = Stage("python3 config/report.py {solve}/field.txt x")

    with pytest.raises(ToolError, match=r"no stage 'repot': did you mean 'report'"):
        Two.at(site="north", template="small", stage="repot")

    class Different(solver):  # type: ignore[misc, valid-type]
        templates = solver.templates_directory()
        other = Stage("true", environment=Modules("gcc"))

    with pytest.raises(ToolError, match="solve, other of solver have different environments"):
        Different.at(site="north", template="small")

    class Kinds(solver):  # type: ignore[misc, valid-type]
        templates = solver.templates_directory()
        one = Stage("true", launch="mpi", mpi="pmi2")
        two = Stage("true", launch="mpi")

    with pytest.raises(ToolError, match=r"one \(pmi2\), two \(the default\) of solver start ranks by different kinds"):
        Kinds.at(site="north", template="small")


def test_a_point_runs_all_stages_in_order(cluster: Cluster, several: type[Tool], tmp_path: Path) -> None:
    unit = several.at(site="north", template="small")
    assert unit.terms.options.to_json() == {
        "cpus_per_task": "2", "labels": {"tool": "solver"}, "launch": "once", "mem": "200M", "time": "00:05:00",
    }  # fmt: skip
    sweep = Sweep(unit, grid(steps=[2, 3]), name="two", directory=tmp_path / "sweeps").run()
    sweep.drive()
    assert [point.exception() for point in sweep.points] == [None] * 2
    for point, text in zip(sweep.points, ("north: 4", "north: 9"), strict=True):
        run = several.open(point)
        assert (run.directory / "output/report/report.txt").read_text() == text
        assert (run.directory / "output/solve/variable.txt").read_text() == "a b\n"
        assert list(run.status()) == ["solve", "report"]
        assert {(health.stage, health.word) for health in run.verify()} == {
            (None, "ok"), ("solve", "ok"), ("report", "ok"),
        }  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "words", "left"),
    [
        (-1, "NEGATIVE", []),  # the first fails, which diagnoses it
        (7, "stage solve did not write var*.txt", ["solve"]),
        (8, "the check of output/solve/field.txt returned False", ["report", "solve"]),
        (9, "TOO_LONG", ["report", "solve"]),
    ],
)
def test_a_point_ends_at_the_first_stage_that_fails(
    steps: int, words: str, left: list[str], local: Cluster, several: type[Tool], tmp_path: Path
) -> None:
    unit = several.at(site="north", template="small")
    sweep = Sweep(unit, [{"steps": steps}], name="one", directory=tmp_path / "sweeps").run()
    sweep.drive()
    (point,) = sweep.points
    assert words in str(point.exception())
    found = (several.open(point).directory / "output").glob("*/*.txt")
    assert sorted({path.parent.name for path in found}) == left


def test_a_stage_is_run_after_those_that_it_needs_only(local: Cluster, several: type[Tool], tmp_path: Path) -> None:
    unit = several.at(site="north", template="small", stage="solve")
    sweep = Sweep(unit, [{"steps": 2}], name="first", directory=tmp_path / "sweeps").run()
    sweep.drive()
    run = several.open(sweep.points[0])
    assert (list(run.jobs), (run.directory / "field.txt").read_text()) == (["solve"], "4")


WORLD = """\
import os, sys
from mpi4py import MPI
world = MPI.COMM_WORLD
total = world.reduce(world.rank + 1)
if world.rank == 0:
    open(sys.argv[1], "w").write(f"{total} of {world.size} {os.environ['TOOL_STAGE']} {' '.join(sys.argv[2:])}")
"""


def of_ranks(solver: type[Tool], **options: Any) -> type[Tool]:
    """A tool with a stage of one process between two that are worlds of MPI, of different sizes."""
    (solver.templates_directory() / "small" / "world.py").write_text(WORLD)

    class Ranks(Tool):
        name, config, templates = "ranks", "case.yaml", solver.templates_directory()
        world = Stage(f"{sys.executable} config/world.py sum", products="sum", launch="mpi", ntasks=3, **options)
        plain = Stage("cp {world}/sum copy", products="copy", ntasks=1)
        smaller = Stage(
            f"{sys.executable} config/world.py sum {{plain}}", products="sum", launch="mpi", ntasks=2, **options
        )

    return Ranks


def test_stages_of_a_point_are_worlds_of_the_size_that_each_asks_for(
    cluster: Cluster, solver: type[Tool], tmp_path: Path
) -> None:
    tool = of_ranks(solver, mpi="pmi2")
    unit = tool.at(template="small")
    assert {name: unit.terms.options.get(name) for name in ("launch", "mpi", "ntasks")} == {
        "launch": "mpi", "mpi": "pmi2", "ntasks": "3",
    }  # fmt: skip
    sweep = Sweep(unit, [{"steps": 2}], name="ranks", directory=tmp_path / "sweeps").run()
    sweep.drive()
    (point,) = sweep.points
    assert point.exception() is None
    run = tool.open(point)
    output = run.directory / "output"
    assert (output / "world/sum").read_text().strip() == "6 of 3 world"
    assert (output / "plain/copy").read_text().strip() == "6 of 3 world"
    assert (output / "smaller/sum").read_text() == f"3 of 2 smaller {output}/plain"
    assert all(health.ok for health in run.verify())


@pytest.mark.slurm
def test_a_point_whose_stage_is_worlds_of_one_is_told(
    slurm_env: object, root: Path, solver: type[Tool], tmp_path: Path
) -> None:
    del slurm_env
    with Cluster("slurm", root=root):
        unit = of_ranks(solver).at(template="small")
        sweep = Sweep(unit, [{"steps": 2}], name="ranks", directory=tmp_path / "sweeps").run()
        sweep.drive()
        error = str(sweep.points[0].exception())
    assert "worlds of MPI have another size, and so many processes were started: 1 3" in error
    assert "stage world ended" in error
