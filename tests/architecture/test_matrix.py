"""The page of what was tested has numbers of test runs only, and its tests exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from matrix import KINDS, PAGE, counted, page, written

PROJECT = Path(__file__).parents[2]
MODULES = {
    "tests/faults/test_federation.py": """
import pytest

@pytest.mark.slurm
def test_moved(record_property):
    record_property("slurm", "1")

@pytest.mark.slurm
def test_not_moved(record_property):
    record_property("slurm", "1")
    raise ValueError

@pytest.mark.skip
def test_on_local():
    pass
""",
    "tests/end_to_end/test_fake_pbs.py": "def test_call(): pass",
    "tests/end_to_end/test_text.py": "def test_that_runs_on_nothing(): pass",
}


def report(directory: Path, name: str, *, only: str = "") -> None:
    for file, text in MODULES.items():
        (directory / file).parent.mkdir(parents=True, exist_ok=True)
        (directory / file).write_text(text)
    options = ["-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", ".", "-k", only]
    options += [f"--junitxml={name}.xml", "-o", f"junit_suite_name={name}", "-o", "markers=slurm: as ours"]
    subprocess.run([sys.executable, "-m", "pytest", *options, "tests"], cwd=directory, capture_output=True, check=False)


def test_cells_have_the_numbers_of_reports(tmp_path: Path) -> None:
    report(tmp_path, "slurm-24.11")
    report(tmp_path, "slurm-20.11", only="test_moved")
    report(tmp_path, "grid-engine", only="runs_on_nothing")
    found = counted(tmp_path.glob("*.xml"))
    date = r" \(\d{4}-\d\d-\d\d\)"
    expected = {
        ("Slurm 24.11", "failures"): "1 passed, 1 failed",
        ("`local`, without a scheduler", "failures"): "1 skipped",
        ("PBS: a fake, not tested on PBS", "calls"): "1 passed",
        ("a federation", "Slurm 24.11"): "1 passed, 1 skipped, 1 failed",
        ("Slurm 20.11", "failures"): "1 passed",
        ("a federation", "Slurm 20.11"): "1 passed",
        ("Grid Engine 8.1.9", "calls"): "1 passed",
    }
    assert found.keys() == expected.keys()
    assert all(re.fullmatch(text + date, found[cell]) for cell, text in expected.items()), found
    assert counted([]) == {}
    text = page(found)
    assert written(text).items() >= found.items()
    assert page(written(text)) == text
    assert text.count("not run") == page({}).count("not run") - len(expected)


def test_the_page_is_as_the_script_writes_it() -> None:
    assert PAGE.read_text() == page(written(PAGE.read_text())), "run: python tests/matrix.py"


def test_reports_name_the_tests_that_need_slurm(tmp_path: Path) -> None:
    file = tmp_path / "report.xml"
    test = "tests/end_to_end/test_sites.py::test_options_of_heterogeneous_jobs_are_refused_with_words"
    argv = [sys.executable, "-m", "pytest", "-n", "0", f"--junitxml={file}", "-o", "junit_suite_name=slurm-22.05", test]
    subprocess.run(argv, cwd=PROJECT, check=False, capture_output=True)
    assert counted([file]).keys() == {("Slurm 22.05", "calls")}


def test_each_kind_of_site_has_tests() -> None:
    names = [
        f"tests.{file.parent.name}.{file.stem}.{name}"
        for file in (PROJECT / "tests").glob("*/test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    ]
    assert [kind for kind, tests in KINDS.items() if not any(re.search(tests, name) for name in names)] == []
