"""The runner's zip, as a client makes and keeps it."""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import marshal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from slurm.clusters.cluster import Cluster
from slurm.protocol.client_only import PACKAGES
from slurm.protocol.packed import CODES, SOURCES, packed_names
from slurm.storage import runner_zip
from slurm.storage.runner_zip import _compiled, bundle, made, without_comments


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    made.cache_clear()
    yield
    made.cache_clear()


def test_the_zip_is_the_same_whoever_builds_it_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built_before = bundle()
    assert built_before.name == f"{hashlib.sha256(built_before.data).hexdigest()}-runner.zip"
    made.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert bundle() == built_before
    [file] = tmp_path.glob("slurm-tasks/*")
    assert file.read_bytes() == built_before.data
    written = file.stat().st_ino
    made.cache_clear()  # as in another process
    monkeypatch.setattr(runner_zip, "_cached", {""})
    assert bundle() == built_before
    assert file.stat().st_ino == written


@pytest.mark.parametrize("executable", ["/bin/false", "/bin/true", "/nowhere/python", "", None])
def test_modules_are_compiled_where_no_interpreter_can_be_started(
    executable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a program that embeds Python."""
    monkeypatch.setattr(sys, "executable", executable)
    found = _compiled({"one.py": b"x = 1", "two.py": b"y = x + 1"})
    names: dict[str, int] = {}
    for name in ("one.py", "two.py"):
        exec(marshal.loads(found[name]), names)  # noqa: S102, S302 - compiled here
    assert (names["x"], names["y"]) == (1, 2)


def test_the_zip_is_built_without_a_cache_and_an_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    monkeypatch.setattr(sys, "executable", None)
    names = zipfile.ZipFile(io.BytesIO(bundle().data)).namelist()
    assert {"slurm/runner/main.pyc", CODES} <= set(names)


def test_the_zip_is_small_and_holds_only_what_a_node_imports() -> None:
    data = bundle().data
    assert len(data) <= 1_500_000
    archive = zipfile.ZipFile(io.BytesIO(data))
    names = archive.namelist()
    assert len(names) <= 110, "Python takes time for each member of a zip that it opens"
    packed = packed_names(archive.read(SOURCES))
    packages = {name.split("/")[1] for name in (*names, *packed) if name.startswith("slurm/")}
    assert packages.isdisjoint({"cli", "doctor", "server", "testing"})
    assert {"former", "clusters", "runner"} <= packages


def test_a_workflow_finds_all_that_the_zip_refers_to(tmp_path: Path) -> None:
    path = tmp_path / bundle().name
    path.write_bytes(bundle().data)
    names = [
        f"slurm.{place}" for place in ("clusters.workflow_cluster", "clusters.cluster", "views.graph", "slurmfile")
    ]
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import {', '.join(names)}; print(slurm.__file__)"
    argv = [sys.executable, "-E", "-c", code, str(path)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.startswith(str(path))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_module_of_a_task_may_import_names_that_only_programs_use(package: str, tmp_path: Path) -> None:
    path = tmp_path / bundle().name
    path.write_bytes(bundle().data)
    public = import_module(package)
    homes = {
        f"{getattr(public, name).__module__}.{name}"
        for name in public.__all__
        if "__module__" in dir(getattr(public, name))
    }
    modules = {home.rpartition(".")[0] for home in homes if home.startswith("slurm.")}
    program = f"""
import sys; sys.path.insert(0, {str(path)!r})
from {package} import {", ".join(public.__all__)}
import {", ".join(modules)}
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_only_programs_use_says_so_when_a_job_uses_it(tmp_path: Path) -> None:
    path = tmp_path / bundle().name
    path.write_bytes(bundle().data)
    program = f"""
import sys; sys.path.insert(0, {str(path)!r})
from slurm.procedures import Script, procedure
from slurm.sweeps import Sweep, grid
from slurm.tools import Tool, ToolError
class Mine(Tool): pass
print(len(grid(x=[1, 2])), procedure.__module__, hasattr(Script, "file"))
try:
    raise ValueError("its own")
except ToolError: print("no")
except ValueError as error: print(error)
for use in Sweep, Mine, lambda: Script.file("x.py"), lambda: __import__("slurm.nonsense"):
    try: use()
    except Exception as error: print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    only_there = "works in the program that submits jobs, and not in a job"
    assert done.stdout.splitlines() == [
        "2 slurm.runner.procedures.interface False",
        "its own",
        f"RuntimeError slurm.sweeps.sweep.Sweep {only_there}. To submit jobs from a job, make it a slurm.workflow",
        f"RuntimeError __main__.Mine {only_there}. To submit jobs from a job, make it a slurm.workflow",
        f"AttributeError slurm.procedures.script.Script {only_there}, so it has no attribute 'file' here",
        "ModuleNotFoundError No module named 'slurm.nonsense'",
    ]


def test_nothing_that_a_task_loads_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / bundle().name
    path.write_bytes(bundle().data)
    compressed = {member.filename for member in zipfile.ZipFile(path).infolist() if member.compress_type}
    assert "slurm/runner/main.py" in compressed
    imports = "import slurm.runner.main, slurm.runner.completed, cloudpickle"
    code = f"import sys; sys.path.insert(0, sys.argv[1]); from slurm import task; {imports}; print(*sys.modules)"
    argv = [sys.executable, "-S", "-E", "-c", code, str(path)]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    files = {f"{name.replace('.', '/')}{end}" for name in loaded for end in (".pyc", "/__init__.pyc")}
    assert files & compressed == {"__main__.pyc"} & compressed
    assert "zlib" not in loaded


def test_sources_in_the_zip_keep_their_lines_and_lose_docstrings_comments_and_imports_for_type_checkers() -> None:
    source = b'''"""A module,
of two lines."""
# A comment.
if TYPE_CHECKING:
    from typing import Any
def f(x):
    """One line."""
def g():
    # Another.
    text = """
# no comment
""" "a#b"  # kept
    return text
'''
    found = without_comments(source, ast.parse(source))
    assert (
        found
        == b'''""




def f(x):
    ""
def g():

    text = """
# no comment
""" "a#b"  # kept
    return text
'''
    )


PROGRAM = """\
import linecache, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import slurm.clusters.cluster, slurm.environments, slurm.backend
from slurm.protocol.shell import program
print(slurm.clusters.cluster.__file__ == sys.argv[1] + "/slurm/clusters/cluster.py", slurm.environments.__path__)
print(linecache.getline("slurm/clusters/cluster.py", int(sys.argv[2]), vars(slurm.clusters.cluster)).strip())
print(bool(program("slurm.places", "probe.sh")), len(pkgutil.get_data("slurm.environments", "image_lookup.py")))
import slurm.cli
"""


@pytest.mark.parametrize("other_version", [False, True])
def test_packed_modules_are_modules_with_files_and_sources(tmp_path: Path, *, other_version: bool) -> None:
    path = tmp_path / "runner.zip"
    path.write_bytes(bundle().data)
    if other_version:  # as an interpreter of another version sees the zip: without modules that are compiled for it
        with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "other.zip", "w") as part:
            for name in whole.namelist():
                if not name.startswith(CODES) and not name.endswith(".pyc"):
                    part.writestr(name, whole.read(name))
        (tmp_path / "other.zip").replace(path)
    line = inspect.getsourcelines(Cluster)[1]
    argv = [sys.executable, "-E", "-c", PROGRAM, str(path), str(line)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    first, second, third = done.stdout.splitlines()
    assert first == f"True ['{path}/slurm/environments']"
    assert second.startswith("class Cluster(")
    assert third.startswith("True ")
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'slurm.cli'\n")
