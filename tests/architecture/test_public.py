"""The public names: those that the documentation lists, each there when it is asked for and not before."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import slurm
from public_api import listing
from slurm import errors

PROJECT = Path(__file__).parents[2]
API = PROJECT / "docs" / "reference" / "api.md"

IMPORTED_WITH_THE_PACKAGE = 7
"""How many modules `import slurm` takes beyond those of a bare Python: the package, records, and importlib's own."""
ROOM = 3

OWN_WITH_A_CLUSTER, ALL_WITH_A_CLUSTER = 24, 90
"""How many modules `from slurm import Cluster, task` takes: of the package, and in all beyond a bare Python's."""
OWN_WITH_THE_HELP, ALL_WITH_THE_HELP = 10, 45
"""How many modules `slurm --help` takes: of the package, and in all beyond those of `import click`."""


def python(code: str) -> list[str]:
    """The words that a bare Python prints."""
    argv = [sys.executable, "-S", "-E", "-c", f"import sys; sys.path.insert(0, sys.argv[1]); {code}"]
    return subprocess.run([*argv, str(PROJECT / "src")], capture_output=True, text=True, check=True).stdout.split()


def test_the_public_names_are_those_of_the_api_page() -> None:
    headings = re.findall(r"^### `(\w+)`", API.read_text(), flags=re.MULTILINE)
    assert sorted(headings) == sorted(slurm.__all__)


def test_the_public_names_have_the_members_and_parameters_that_are_on_record() -> None:
    """A change of these lines changes what users' programs rely on: see docs/explanation/compatibility.md."""
    assert listing() == (PROJECT / "tests/data/public-api.txt").read_text(), "python tests/public_api.py writes them"


def test_the_tree_at_the_top_of_the_errors_is_the_one_on_the_page_and_has_them_all() -> None:
    assert errors.__doc__ is not None
    tree = [line.strip() for line in errors.__doc__.splitlines() if re.match(r" {4}[S├└│ ]", line)]
    page = [line.strip() for line in API.read_text().splitlines()]
    assert tree == page[page.index(tree[0]) :][: len(tree)]
    drawn = [re.findall(r"\w+", line)[0] for line in tree]
    defined = [
        found for found in vars(errors).values() if isinstance(found, type) and found.__module__ == errors.__name__
    ]
    assert sorted(drawn) == sorted(found.__name__ for found in defined)


@pytest.mark.parametrize("name", slurm.__all__)
def test_each_name_is_there_when_it_is_asked_for(name: str) -> None:
    assert getattr(slurm, name) is not None
    assert name in dir(slurm)


def test_the_names_are_sorted_and_are_all_that_there_is() -> None:
    assert slurm.__all__ == sorted(slurm.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert {*slurm.__all__, "__version__"} == set(slurm._HOME)
    with pytest.raises(AttributeError, match="module 'slurm' has no attribute 'clustre'"):
        slurm.clustre  # noqa: B018


def test_to_import_the_package_costs_next_to_nothing() -> None:
    bare = python("print(*sys.modules)")
    loaded = python("import slurm; print(*sys.modules)")
    assert len(loaded) - len(bare) <= IMPORTED_WITH_THE_PACKAGE + ROOM, sorted(set(loaded) - set(bare))


def test_to_import_a_cluster_loads_what_its_class_needs() -> None:
    bare = set(python("print(*sys.modules)"))
    loaded = set(python("from slurm import Cluster, task; print(*sys.modules)")) - bare
    own = {name for name in loaded if name.partition(".")[0] == "slurm"}
    assert len(own) <= OWN_WITH_A_CLUSTER, sorted(own)
    assert len(loaded) <= ALL_WITH_A_CLUSTER, sorted(loaded)


def test_the_help_of_the_command_loads_no_command() -> None:
    click = Path(find_spec("click").origin or "").parents[1]  # type: ignore[union-attr]
    see = f"sys.path.append({str(click)!r}); import click; bare = set(sys.modules); sys.argv = ['slurm', '--help']"
    run = "from slurm.cli.main import main; sys.stdout = open('/dev/null', 'w')"
    end = "atexit.register(lambda: print(*(set(sys.modules) - bare), file=sys.__stdout__)); main()"
    loaded = python(f"{see}; {run}; import atexit; {end}")
    own = {name for name in loaded if name.partition(".")[0] == "slurm"}
    assert len(own) <= OWN_WITH_THE_HELP, sorted(own)
    assert len(loaded) <= ALL_WITH_THE_HELP, sorted(loaded)


def test_to_define_a_task_imports_neither_a_cluster_nor_what_one_needs() -> None:
    loaded = set(python("import slurm; slurm.task(mem='4G')(lambda: 1); print(*sys.modules)"))
    never = {
        "slurm.clusters.cluster",
        "slurm.jobs.job",
        "typing",
        "inspect",
        "dataclasses",
        "json",
        "threading",
        "cloudpickle",
    }
    assert never.isdisjoint(loaded)
