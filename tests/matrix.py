"""Make the page of what was tested: `python tests/matrix.py DIRECTORY` fills cells of docs/reference/tested-with.md.

DIRECTORY has reports of pytest as JUnit XML, which nox sessions and CI write if SLURMTASKS_REPORTS names it. The name
of a report's suite says what the tests ran on, such as `slurm-24.11`. Cells that no report fills stay as they are.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "tested-with.md"
NOT_RUN = "not run"
MARK = "slurm"
"""The marker, and in reports the property, of tests that need a real Slurm."""
_SLURM = ("20.11", "22.05", "24.11", "26.05")
_TITLES = {
    **{f"slurm-{release}": f"Slurm {release}" for release in _SLURM},
    "slurmrestd": "Slurm by slurmrestd",
    "grid-engine": "Grid Engine 8.1.9",
    "pbs": "PBS: a fake, not tested on PBS",
    "local": "`local`, without a scheduler",
}
"""What the tests ran on, by the names of suites."""
_SUITES = {
    "contract": r"^tests\.(contracts\.test_(schedulers|fake_pbs)|\w+\.test_contract)\b",
    "calls": r"^tests\.(end_to_end|grid_engine\.test_calls|slurmrest\.test_calls)\b",
    "failures": r"^tests\.faults\b",
}
"""The columns of the first table: regular expressions for the modules of tests."""
KINDS = {
    "accounting, with limits of QOS and associations": r"test_(accounting|limits)\.",
    "two clusters (`-M`)": r"test_identity\.test_(jobs_on_another_cl|dependents_go_to|exported_slurm_cl|same_id_on)",
    "a federation": r"test_federation\.",
    "configless": r"test_sites\.test_no_machine_has_a_slurm_conf",
    "a submit plug-in that rewrites, holds, moves or refuses": r"test_sites\.test_a_submit_plugin_",
    "JobRequeue=0, MinJobAge=2, a TaskProlog that prints": r"test_sites\.test_a_prolog_prints_",
    "GPUs, kinds of nodes, reservations": r"test_sites\.test_gpus_ranks_kinds_of_nodes_",
    "PrivateData, as an ordinary user": r"test_sites\.test_an_ordinary_user_where_",
    "nodes with another home": r"test_sites\.test_nodes_with_another_home",
    "a private /tmp for each job": r"test_sites\.test_each_job_has_a_private_tmp",
    "no job arrays": r"\.test_each_element_is_a_job_without_job_arrays",
    "limits on memory": r"test_memory\.",
}
"""The kinds of sites, and regular expressions for their tests."""
_TOP = """\
# Tested with

A cell has the number of tests and the date of their run. `tests/matrix.py` writes the numbers from the reports of test
runs, so nobody types them. A test is skipped if it needs what the machine or the release does not have, such as root.

## Schedulers

| suite | its tests |
|---|---|
| contract | each command of a scheduler, on its own |
| calls | what a user's program does: calls, maps, errors, logs |
| failures | [failures](failures.md), on a cluster that the test breaks |
"""
_KINDS_TOP = """\
## Kinds of sites

Each is a real cluster of this kind. [Failures](failures.md#kinds-of-sites) says what happens there.
"""


class Table(NamedTuple):
    """A table of the page, without its cells."""

    corner: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]


SCHEDULERS = Table("scheduler", tuple(_TITLES.values()), tuple(_SUITES))
SITES = Table("site", tuple(KINDS), tuple(f"Slurm {release}" for release in _SLURM))
Cells = Mapping[tuple[str, str], str]


def written(text: str) -> Cells:
    """Return the cells of a page, by row and column."""
    found: dict[tuple[str, str], str] = {}
    for table in (SCHEDULERS, SITES):
        for line in text.splitlines():
            row, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            if row in table.rows and len(cells) == len(table.columns):
                found.update({(row, column): cell for column, cell in zip(table.columns, cells, strict=True)})
    return found


def counted(reports: Iterable[Path]) -> Cells:
    """Return the cells that reports fill: by the newest report with tests of a cell, of one day the largest."""
    suites = [suite for report in reports for suite in ET.parse(report).iter("testsuite")]  # noqa: S314 - ours
    found: dict[tuple[str, str], str] = {}
    for suite in sorted(suites, key=lambda suite: (_date(suite), int(suite.get("tests", "0")))):
        counts: dict[tuple[str, str], Counter[str]] = {}
        for case in suite.iter("testcase"):
            kinds = {child.tag for child in case}
            result = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            for cell in _cells(suite.get("name", ""), case):
                counts.setdefault(cell, Counter())[result] += 1
        for cell, results in counts.items():
            numbers = (f"{results[name]} {name}" for name in ("passed", "skipped", "failed") if results[name])
            found[cell] = f"{', '.join(numbers)} ({_date(suite)})"
    return found


def _date(suite: ET.Element) -> str:
    return suite.get("timestamp", "").partition("T")[0]


def _cells(suite: str, case: ET.Element) -> Iterable[tuple[str, str]]:
    """Return the cells to which a test counts."""
    test, of_slurm = f"{case.get('classname')}.{case.get('name')}", suite.removeprefix("slurm-") in _SLURM
    ran_on = suite
    if of_slurm and case.find(f"properties/property[@name='{MARK}']") is None:  # the whole suite has other tests, too
        ran_on = next((name for name in ("pbs", "local") if name in test.lower()), "")
    for column, modules in _SUITES.items():
        if ran_on in _TITLES and re.search(modules, test):
            yield _TITLES[ran_on], column
    for kind, tests in KINDS.items():
        if of_slurm and re.search(tests, test):
            yield kind, _TITLES[suite]


def page(cells: Cells) -> str:
    """Return the Markdown text of the page."""
    return "\n".join([_TOP, *_lines(SCHEDULERS, cells), "", _KINDS_TOP, *_lines(SITES, cells), ""])


def _lines(table: Table, cells: Cells) -> list[str]:
    return [
        f"| {' | '.join((table.corner, *table.columns))} |",
        "|---" * (1 + len(table.columns)) + "|",
        *(
            f"| {' | '.join((row, *(cells.get((row, column), NOT_RUN) for column in table.columns)))} |"
            for row in table.rows
        ),
    ]


if __name__ == "__main__":
    before = written(PAGE.read_text()) if PAGE.exists() else {}
    PAGE.write_text(page({**before, **counted(Path(sys.argv[1]).glob("*.xml") if sys.argv[1:] else ())}))
