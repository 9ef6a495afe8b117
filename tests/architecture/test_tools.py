"""External tools: the core imports no plug-in, and what a tool costs to import."""

from __future__ import annotations

from pathlib import Path

import pytest

from architecture.sources import modules
from architecture.test_layers import imported
from architecture.test_public import python

PLUGINS = [path.name for path in Path(__file__, "../../../src/slurm/tools").resolve().iterdir() if path.is_dir()]
PLUGINS = [name for name in PLUGINS if not name.startswith("_")]
OWN_WITH_A_TOOL, ALL_WITH_A_TOOL = 15, 85
"""How many modules a declaration takes: of the package, and in all beyond a bare Python's."""
MOST_LINES = 60


def test_there_are_plugins() -> None:
    assert {"bayeseor", "pyuvsim"} <= set(PLUGINS)


def test_no_module_imports_a_plugin() -> None:
    plugins = tuple(f"slurm.tools.{plugin}" for plugin in PLUGINS)
    others = {name: tree for name, tree in modules().items() if not f"slurm.{name}".startswith(plugins)}
    assert [name for name, tree in others.items() if any(found.startswith(plugins) for found in imported(tree))] == []


def test_the_core_of_tools_imports_no_plugin_when_it_runs() -> None:
    every = [f"slurm.{name}" for name in modules() if name.startswith("tools")]
    core = [name for name in every if name.split(".")[2:3] != [] and name.split(".")[2] not in PLUGINS]
    loaded = set(_with_packages(f"import importlib; [importlib.import_module(name) for name in {core}]"))
    assert set(core) <= loaded
    assert not {name for name in loaded for plugin in PLUGINS if name.startswith(f"slurm.tools.{plugin}")}


def test_to_import_tools_loads_one_module() -> None:
    before = set(python("import slurm; print(*sys.modules)"))
    assert set(python("import slurm; import slurm.tools; print(*sys.modules)")) - before == {"slurm.tools"}


def test_a_declaration_loads_little() -> None:
    bare = set(python("print(*sys.modules)"))
    code = "from slurm.tools import Stage, Tool; type('One', (Tool,), {'name': 'one', 'run': Stage('true', mem='1G')})"
    loaded = set(python(f"{code}; print(*sys.modules)")) - bare
    own = {name for name in loaded if name.partition(".")[0] == "slurm"}
    assert len(own) <= OWN_WITH_A_TOOL, sorted(own)
    assert len(loaded) <= ALL_WITH_A_TOOL, sorted(loaded)
    assert not {"yaml", "slurm.clusters.cluster", "slurm.environments.base"} & loaded


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_has_at_most_sixty_lines(name: str) -> None:
    files = Path(__file__, "../../../src/slurm/tools", name).resolve().glob("*.py")
    assert sum(len(file.read_text().splitlines()) for file in files) <= MOST_LINES


def _with_packages(code: str) -> list[str]:
    """The modules that some code loads, with the installed packages."""
    import site

    return python(f"sys.path += {[*site.getsitepackages()]!r}; {code}; print(*sys.modules)")


def test_the_page_of_the_api_has_every_name() -> None:
    import slurm.tools

    page = Path(__file__, "../../../docs/reference/tools.md").resolve().read_text()
    assert [name for name in slurm.tools.__all__ if f"`{name}" not in page] == []
    for name in slurm.tools.__all__:
        assert getattr(slurm.tools, name) is not None
