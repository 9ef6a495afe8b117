"""The page "Add a scheduler": its scheduler for PBS is small, well typed, and passes the contract of commands."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from slurm.options import Options
from slurm.protocol import Block
from slurm.schedulers.base import Dependency, Request

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A directory with the page's scheduler as `my_package.py` and its test."""
    page = (PROJECT / "docs/how-to/add-a-scheduler.md").read_text()
    stub, test = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "my_package.py").write_text(stub)
    (tmp_path / "test_pbs.py").write_text(test)
    return tmp_path


def test_scheduler_of_the_page_is_small(package: Path) -> None:
    text = (package / "my_package.py").read_text()
    (scheduler,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    methods = [node for node in scheduler.body if isinstance(node, ast.FunctionDef)]
    assert len(text.splitlines()) <= 150
    assert len(methods) <= 12


def test_scheduler_of_the_page_passes_mypy(package: Path) -> None:
    argv = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(package / "cache"), "my_package.py"]
    done = subprocess.run(argv, cwd=package, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_scheduler_of_the_page_passes_the_contract_of_commands(package: Path) -> None:
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(package), "test_pbs.py"]
    done = subprocess.run(argv, cwd=package, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b2\d passed", done.stdout)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"time": "1-02:03:04"}, {"walltime=93784"}),
        ({"time": "90"}, {"walltime=5400"}),
        ({"mem": "2G", "cpus_per_task": 4, "ntasks": 3}, {"select=3:ncpus=4:mem=2048mb"}),
        ({"max_concurrent": 3, "partition": "short"}, {"max_run_subjobs=3", "short"}),
    ],
)
def test_scheduler_of_the_page_builds_qsub_commands(
    package: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], words: set[str]
) -> None:
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.delitem(sys.modules, "my_package", raising=False)
    from my_package import PBSScheduler  # type: ignore[import-not-found]

    request = Request(
        script="/r/script.sh",
        comment="f/1",
        log="/r/%a.log",
        block=Block(first=0, count=10),
        options=Options.parse(options),
        dependencies=(Dependency("afterok", ("7.pbs01", "8[].pbs01")), Dependency("afterok", ("9[2].pbs01",))),
    )
    command = PBSScheduler(None).submit_command(request)
    assert words | {"0-9", "depend=afterok:7.pbs01:8[].pbs01,afterany:9[].pbs01", "/r/^array_index^.log"} <= {*command}
    assert command[-1] == request.script
