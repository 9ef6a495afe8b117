"""The options of a tool's stages: six layers, what suppresses an option, and where each value comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slurm import Cluster, slurmfile
from slurm.environments.modules import Conda
from slurm.errors import OptionError, SlurmfileError
from slurm.slurmfile.sources import Source
from slurm.tools import Stage, Tool, ToolError
from slurm.tools.config import (
    cluster_layer,
    get_nested,
    get_tool_config,
    merge_slurm_config,
    merged,
    shown,
    stage_settings,
)

FILE = """\
default: site
clusters:
  site:
    url: local
    options: {mem: 3G, partition: long, account: physics}
tools:
  default:
    options: {mem: 2G, nice: 2, account: all}
  solver:
    environment: {conda: solver}
    options: {partition: short, qos: high, gres: null}
    stages:
      solve:
        options: {qos: null, time: "5:00", env: {LEVEL: 3}}
"""


class Solver(Tool):
    name = "solver"
    solve = Stage("solve", mem="1G", gres="gpu:1", constraint="avx", env={"LEVEL": "1", "MODE": "fast"})
    report = Stage("report {solve}")


def source(text: str) -> Source:
    return Source(Path("/p/Slurmfile"), text.encode(), "argument")


def options(stage: str, given: dict[str, Any], text: str = FILE) -> dict[str, Any]:
    entry = slurmfile.read(source(text))
    cluster = cluster_layer(Cluster.from_entry(entry).settings, entry)
    return merged(get_tool_config(Solver, source(text)).layers(Solver, stage, cluster, given)).options.to_json()


@pytest.mark.parametrize(
    ("base", "over", "remains"),
    [
        ({}, {}, {}),
        ({}, {"mem": None}, {}),
        ({}, {"mem": "2G"}, {"mem": "2G"}),
        ({"mem": None}, {}, {}),
        ({"mem": None}, {"mem": None}, {}),
        ({"mem": None}, {"mem": "2G"}, {"mem": "2G"}),
        ({"mem": "1G"}, {}, {"mem": "1G"}),
        ({"mem": "1G"}, {"mem": None}, {}),
        ({"mem": "1G"}, {"mem": "2G"}, {"mem": "2G"}),
    ],
)
def test_none_suppresses_and_not_given_does_not(
    base: dict[str, Any], over: dict[str, Any], remains: dict[str, Any]
) -> None:
    assert merge_slurm_config(base, over) == remains


def test_a_later_option_replaces_one_that_it_excludes() -> None:
    assert merge_slurm_config({"mem": "1G"}, {"mem_per_cpu": "2G"}, {"time": "1:00"}) == {
        "mem_per_cpu": "2G",
        "time": merge_slurm_config({"time": "1:00"})["time"],
    }
    with pytest.raises(OptionError, match="did you mean mem"):
        merge_slurm_config({"memm": "1G"})


def test_each_layer_is_over_those_before_it() -> None:
    found = options("solve", {"nice": 7})
    assert {name: found.get(name) for name in ("constraint", "nice", "mem", "account", "partition")} == {
        "constraint": "avx",  # built-in
        "nice": "7",  # command line, over default
        "mem": "3G",  # cluster, over default, over built-in
        "account": "physics",  # cluster, over default
        "partition": "short",  # tool, over cluster
    }
    assert found["env"] == {"LEVEL": "3", "MODE": "fast"}  # stage, over built-in
    assert "qos" not in found  # the stage suppresses what the tool says
    assert "gres" not in found  # the tool suppresses what is built-in
    assert options("report", {})["qos"] == "high"


def test_what_a_tool_suppresses_is_not_taken_from_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = FILE.replace("partition: short", "partition: null")
    (tmp_path / "Slurmfile").write_text(text)
    monkeypatch.chdir(tmp_path)
    cluster = Cluster.from_slurmfile()
    settings = stage_settings(Solver, cluster)["solve"]
    assert cluster.settings.options.merged(settings.options).get("partition") is None
    assert settings.environment is not None
    assert [repr(each) for each in settings.environment] == [repr(Conda("solver"))]


def test_each_value_is_shown_with_its_layer_and_line() -> None:
    entry = slurmfile.read(source(FILE))
    cluster = cluster_layer(Cluster.from_entry(entry).settings, entry)
    layers = get_tool_config(Solver, source(FILE)).layers(Solver, "solve", cluster, {"nice": 7})
    rows = {setting.key: (setting.value, setting.origin) for setting in shown(Solver, "solve", layers)}
    assert rows == {
        "solver.solve.account": ("physics", "cluster: /p/Slurmfile:5"),
        "solver.solve.constraint": ("avx", f"built-in: {__name__}:Solver.solve"),
        "solver.solve.env.LEVEL": ("3", "stage: /p/Slurmfile:14"),
        "solver.solve.env.MODE": ("fast", f"built-in: {__name__}:Solver.solve"),
        "solver.solve.environment": ("Conda('solver')", "tool: /p/Slurmfile:10"),
        "solver.solve.gres": ("null", "tool: /p/Slurmfile:11"),
        "solver.solve.launch": ("once", f"built-in: {__name__}:Solver.solve"),
        "solver.solve.mem": ("3G", "cluster: /p/Slurmfile:5"),
        "solver.solve.nice": ("7", "command line"),
        "solver.solve.partition": ("short", "tool: /p/Slurmfile:11"),
        "solver.solve.qos": ("null", "stage: /p/Slurmfile:14"),
        "solver.solve.time": (merge_slurm_config({"time": "5:00"})["time"], "stage: /p/Slurmfile:14"),
    }


def test_errors_of_the_section_are_told_with_their_lines() -> None:
    bad = FILE.replace("nice: 2", "nicee: 2").replace("environment: {conda", "enviroment: {conda")
    with pytest.raises(SlurmfileError) as caught:
        slurmfile.read(source(bad))
    assert "line 8: tools.default.options.nicee: sbatch has no option nicee: did you mean nice?" in str(caught.value)
    assert "line 10: tools.solver.enviroment: unknown key: did you mean 'environment'?" in str(caught.value)
    with pytest.raises(ToolError, match="/p/Slurmfile:13: solver has no stage 'solv': did you mean 'solve'"):
        get_tool_config(Solver, source(FILE.replace("      solve:", "      solv:")))
    with pytest.raises(SlurmfileError, match=r"line 10: tools\.solver.environment: there is no environment 'cond'"):
        get_tool_config(Solver, source(FILE.replace("conda:", "cond:")))


def test_a_nested_value_is_found_or_the_default() -> None:
    values = {"freq": {"Nfreqs": 2, "bands": None}}
    assert get_nested(values, "freq", "Nfreqs") == 2
    assert get_nested(values, "freq", "bands", default=1) is None
    assert get_nested(values, "freq", "Nfreqs", "x", default=3) == 3
    assert get_nested(values, "time") is None
