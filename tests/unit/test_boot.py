"""Process start: the working directory is searched last, so it hides no module of Python but can be imported from."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from slurm.protocol.boot import BOOT, RUN_MODULE, RUN_SOURCE
from unit.job_directories import Directory, pickled, run_on_a_node

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("operator", "shlex", "types", "json", "signal", "platform", "subprocess", "pickle", "grp", "runpy")


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A working directory with files named like modules of Python, and one other module."""
    place = tmp_path / "work"
    place.mkdir()
    for name in NAMES:
        (place / f"{name}.py").write_text("raise ImportError('the file of the user')\n")
    (place / "of_the_user.py").write_text("value = 42\n")
    return place


def imports() -> tuple[int, str]:
    import json
    import operator

    import of_the_user  # type: ignore[import-not-found]

    return of_the_user.value, os.path.dirname(str(operator.__file__ or json.__file__))


@pytest.mark.parametrize("path", [None, "", ":", "/nowhere:", "/nowhere::/elsewhere", ".:/nowhere"])
def test_a_task_searches_the_working_directory_after_the_standard_library(crowded: Path, path: str | None) -> None:
    directory = Directory(str(crowded.parent / "root")).create(pickled(imports, ()))
    environ = {"PYTHONPATH": path} if path is not None else {}
    done = run_on_a_node(directory, crowded, environ=environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert directory.result() == (42, os.path.dirname(os.__file__))


def test_a_directory_in_pythonpath_keeps_its_position(crowded: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "of_the_user.py").write_text("value = 'of PYTHONPATH'\n")
    for name in NAMES:
        (crowded / f"{name}.py").unlink()
    program = "import of_the_user; def main(argv): print(of_the_user.value, *argv)".replace("; def", "\ndef")
    (tmp_path / "module.py").write_text(program)
    for path, value in ((f"{other}:{crowded}", "of PYTHONPATH"), (f"{crowded}:{other}", "42")):
        argv = [sys.executable, "-c", BOOT, str(tmp_path), "module", "a", "b"]
        done = subprocess.run(
            argv, cwd=crowded, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.stderr) == (f"{value} a b\n", "")


@pytest.mark.parametrize("path", ["", "/nowhere:"])
@pytest.mark.parametrize(
    "argv",
    [
        [RUN_MODULE, "pip", "--version"],
        [RUN_MODULE, "venv", "--help"],
        [RUN_SOURCE, "from __future__ import annotations\nimport json, shlex, sys; assert sys.argv[1:] == ['a']", "a"],
    ],
    ids=["pip", "venv", "source"],
)
def test_builds_and_installs_import_nothing_from_the_working_directory(
    crowded: Path, argv: list[str], path: str
) -> None:
    environ = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", *argv], cwd=crowded, env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_runner_is_checked_by_two_stats(tmp_path: Path) -> None:
    """Counts in a separate process, whose `os.stat` records its arguments."""
    counting = (
        "import os\nreal, asked = os.stat, []\nos.stat = lambda path, **k: (asked.append(path), real(path, **k))[1]\n"
    )
    (tmp_path / "module.py").write_text("import os\ndef main(argv): pass\n")
    program = counting + BOOT.replace("sys.exit(boot(*sys.argv[1:]))", "boot(*sys.argv[1:])\nprint(*asked)")
    argv = [sys.executable, "-c", program, str(tmp_path), "module"]
    asked = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert [path for path in asked if path in {str(tmp_path), str(tmp_path.parent)}] == [
        str(tmp_path.parent),
        str(tmp_path),
    ]
