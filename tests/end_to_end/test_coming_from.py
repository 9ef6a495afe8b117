"""The programs of other libraries beside ours, on the pages "Coming from …": both print what the page says."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "coming-from"
FACADE = [
    ("import submitit\n", "import slurm.compat.submitit as submitit\n"),
    ("from submitit.", "from slurm.compat.submitit."),
]

SLURM_SDK = "SLURMTASKS_SLURM_SDK_PYTHON"
"""A Python with slurm-sdk, whose module has the name of ours: it needs an environment of its own."""

OTHERWISE = ("slurm-sdk", "snakemake")
"""Pages whose programs of the other tool are run by tests of their own. The page of Hydra has commands instead."""

THEIRS = {
    "dask-jobqueue": "dask_jobqueue",
    "executorlib": "executorlib",
    "joblib": "joblib",
    "parsl": "parsl",
    "submitit": "submitit",
}
"""The module of the other library of each page."""


def programs(page: str) -> tuple[list[str], list[str]]:
    """The programs of another library, and ours beside each."""
    text = (PAGES / f"{page}.md").read_text().partition("\n## Ten programs\n")[2]
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) % 2 == 0
    assert len(blocks) >= 20
    return blocks[::2], blocks[1::2]


def check(blocks: list[str], directory: Path, python: str = sys.executable) -> None:
    """Run blocks as one program, and compare what it prints with the comments of `print`."""
    program = "\n".join(blocks)
    (directory / "program.py").write_text(program)
    path = f"{Path(python).parent}:{os.environ['PATH']}"  # Parsl and slurm-sdk start programs of their own
    env = {**os.environ, "PATH": path, "SCRATCH": str(directory), "PYTHONWARNINGS": "ignore"}
    argv = [python, "program.py"]
    done = subprocess.run(argv, cwd=directory, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == re.findall(r"^ *print\(.*\)  # (.*)$", program, flags=re.MULTILINE)


@pytest.mark.parametrize("page", sorted({*THEIRS, *OTHERWISE}))
def test_our_programs_beside_theirs(tmp_path: Path, page: str) -> None:
    check(programs(page)[1], tmp_path)


def test_programs_of_submitit_run_by_one_changed_import(tmp_path: Path) -> None:
    changed = "\n".join(programs("submitit")[0])
    for before, after in FACADE:
        changed = changed.replace(before, after)
    check([changed], tmp_path)


@pytest.mark.parametrize("page", sorted(THEIRS))
def test_their_programs(tmp_path: Path, page: str) -> None:
    if not importlib.util.find_spec(THEIRS[page]):
        pytest.skip(f"{page} is not installed: nox -s peers has it")
    check(programs(page)[0], tmp_path)


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm_env")
@pytest.mark.skipif(SLURM_SDK not in os.environ, reason="slurm-sdk is not installed: nox -s peers has it")
def test_programs_of_slurm_sdk(tmp_path: Path) -> None:
    check(programs("slurm-sdk")[0], tmp_path, os.environ[SLURM_SDK])


@pytest.mark.skipif(not importlib.util.find_spec("snakemake"), reason="snakemake is not installed: nox -s peers has it")
def test_rules_of_snakemake(tmp_path: Path) -> None:
    snakefile = "\n".join(programs("snakemake")[0])
    (tmp_path / "Snakefile").write_text(snakefile)
    expected = dict(re.findall(r'^ *output: "(.*)"  # (.*)$', snakefile, flags=re.MULTILINE))
    # One file a run, as the page says: Snakemake 9.27 sometimes loses a job that waits for its second try when a
    # checkpoint of the same run changes the graph.
    for name in expected:
        argv = [sys.executable, "-m", "snakemake", "--cores", "2", name]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert {name: (tmp_path / name).read_text().strip() for name in expected} == expected


def check_commands(of: int, directory: Path) -> None:
    """Run the commands of the page of Hydra, theirs (0) or ours (1), and compare what they print, except log lines."""
    program, _, commands = (PAGES / "hydra.md").read_text().partition("\n## Commands\n")
    (source,) = re.findall(r"^```python\n(.*?)^```", program, flags=re.DOTALL | re.MULTILINE)
    (directory / "train.py").write_text(source)
    blocks = re.findall(r"^```sh\n(.*?)^```", commands, flags=re.DOTALL | re.MULTILINE)
    script = "".join(blocks[of::2])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "SCRATCH": str(directory / "scratch")}
    (directory / "scratch").mkdir()
    argv = ["bash", "-e", "-c", script]
    done = subprocess.run(argv, cwd=directory, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = " ".join(line for line in done.stdout.splitlines() if not line.startswith("["))
    assert printed == " ".join(re.findall(r"  # (.*)$", script, flags=re.MULTILINE)), done.stderr


def test_our_launcher_for_hydra(tmp_path: Path) -> None:
    check_commands(1, tmp_path)


@pytest.mark.skipif(not importlib.util.find_spec("submitit"), reason="submitit is not installed: nox -s peers has it")
def test_launchers_of_hydra(tmp_path: Path) -> None:
    check_commands(0, tmp_path)


def test_each_page_is_run() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {*THEIRS, *OTHERWISE, "hydra"}
