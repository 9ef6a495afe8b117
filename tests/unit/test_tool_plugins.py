"""The plug-ins and their templates, without the programs: what is written for a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from slurm.tools import Tool
from slurm.tools.bayeseor import BayesEoR
from slurm.tools.pyuvsim import Pyuvsim
from slurm.tools.registry import find_tool
from slurm.tools.templates import get_template_path, list_templates, template_files

if TYPE_CHECKING:
    from pathlib import Path

    from slurm.tools import Run

TOOLS: list[type[Tool]] = [BayesEoR, Pyuvsim]
EACH = [(tool, name) for tool in TOOLS for name in list_templates(tool.templates_directory())]


def prepared(tool: type[Tool], template: str, root: Path, **override: Any) -> Path:
    class Here(tool):  # type: ignore[misc, valid-type]
        templates, max_path = tool.templates_directory(), 4000

    names = dict.fromkeys(tool.taxonomy, "x")
    run: Run = Here.prepare("r", template=template, override=override, root=root, on="local", **names)
    return run.directory


def test_each_has_a_template_and_is_found_by_its_name() -> None:
    assert {tool for tool, _ in EACH} == set(TOOLS)
    assert [find_tool(tool.name) for tool in TOOLS] == TOOLS


@pytest.mark.parametrize(("tool", "template"), EACH)
def test_without_overrides_every_byte_of_a_template_stays(tool: type[Tool], template: str, tmp_path: Path) -> None:
    directory = prepared(tool, template, tmp_path)
    files = dict(template_files(get_template_path(tool.templates_directory(), template)))
    assert files
    for name, path in files.items():
        assert (directory / "config" / name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("tool", "template"), EACH)
def test_an_override_changes_its_line_and_no_other(tool: type[Tool], template: str, tmp_path: Path) -> None:
    config = get_template_path(tool.templates_directory(), template) / str(tool.config)
    before = config.read_text().splitlines()
    leaves = dict(_leaves(yaml.safe_load(config.read_text())))
    for number, key in enumerate(leaves):
        directory = prepared(tool, template, tmp_path / str(number), **{key: "another"})
        after = (directory / "config" / str(tool.config)).read_text().splitlines()
        changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
        assert len(changed) == 1, key
        assert changed[0][1].partition("#")[2] == changed[0][0].partition("#")[2]
        assert dict(_leaves(yaml.safe_load("\n".join(after)))) == {**leaves, key: "another"}


def test_what_a_template_names_is_beside_it(tmp_path: Path) -> None:
    config = prepared(Pyuvsim, "small", tmp_path) / "config"
    telescope = yaml.safe_load((config / "obsparam.yaml").read_text())["telescope"]
    assert (config / telescope["array_layout"]).is_file()
    assert "0: !AnalyticBeam\n" in (config / telescope["telescope_config_name"]).read_text()


def _leaves(values: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _leaves(value, f"{above}{name}.") if isinstance(value, dict) else [(f"{above}{name}", value)]
    return found
