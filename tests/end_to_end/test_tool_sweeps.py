"""A tool as the unit of a sweep: the run directory of each point is prepared on the node."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from end_to_end.test_tools import REPORT, SOLVE
from slurm import CommandFailed
from slurm.errors import ConfigurationError
from slurm.sweeps import Sweep, grid
from slurm.tools import Diagnosis, Stage, Tool, ToolError

if TYPE_CHECKING:
    from slurm import Cluster

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

    with pytest.raises(ToolError, match="has 2 stages, and a point runs one: name it with stage="):
        Two.at(site="north", template="small")
    with pytest.raises(ToolError, match="report runs after solve"):
        Two.at(site="north", template="small", stage="report")
