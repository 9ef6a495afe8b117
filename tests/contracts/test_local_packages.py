"""Packages that a project takes from a directory of this machine, by a path or by uv.lock."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from projects import project, wheel
from slurm.environments.base import BuildTarget
from slurm.environments.installer import find_uv
from slurm.environments.setup import render_steps
from slurm.environments.wheel import Wheel
from slurm.errors import ConfigurationError
from slurm.protocol import ResolvedEnvironment
from slurm.transports.local import LocalTransport

NEEDS_UV = pytest.mark.skipif(find_uv() is None, reason="uv is not installed")


@pytest.fixture
def target(tmp_path: Path) -> BuildTarget:
    return BuildTarget.at(LocalTransport(), str(tmp_path / "jobs"))


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A directory of wheels, with another package that has the name of the library."""
    wheel(tmp_path / "house", "my_library", "F = 'another'\n", version="99.0")
    return tmp_path / "house"


def printed(environment: ResolvedEnvironment, program: str) -> str:
    """The output of a Python program in an environment."""
    script = "\n".join([*render_steps(environment.setup), f'python -c "{program}"'])
    return subprocess.check_output(["bash", "-c", script], text=True).strip()


def library(directory: Path, name: str = "my_library") -> Path:
    return project(directory, name, "F = 'own'\n")


def test_a_path_in_a_requirement_is_given_by_packages_or_is_an_error(
    target: BuildTarget, tmp_path: Path, house: Path
) -> None:
    found = library(tmp_path / "my library")
    requires = (f"my.library @ {found.as_uri()}", f"other @ {found.as_uri()} ; extra == 'more'")
    main = project(tmp_path / "main", "main", "", requires=requires)
    with pytest.raises(ConfigurationError, match=r"main requires my-library from .*: pass packages='.*/my library'"):
        Wheel(main, wheelhouse=house).prepare(target)
    made = Wheel(main, packages=found, wheelhouse=house).prepare(target)
    assert printed(made, "import main, my_library; print(my_library.F)") == "own"


def locked(directory: Path, *, sources: str, more: str = "", dependencies: str = "my_library", workspace: Path) -> Path:
    """A project with a uv.lock in `workspace`, whose dependencies are in its pyproject.toml and its wheel."""
    found = project(directory, "app", "", requires=(dependencies,) if dependencies else ())
    with (found / "pyproject.toml").open("a") as file:
        file.write(f"requires-python = '>=3.10'\ndependencies = {[dependencies] if dependencies else []}\n{more}\n")
        file.write(f"[tool.uv.sources]\n{sources}\n")
    uv = find_uv()
    assert uv is not None
    subprocess.run([uv, "lock", "-q", "--offline", "--project", found], check=True)
    assert (workspace / "uv.lock").is_file()
    return found


@NEEDS_UV
@pytest.mark.parametrize("lock", [None, "uv.lock"])
def test_a_member_of_a_workspace_never_comes_from_an_index(
    target: BuildTarget, tmp_path: Path, house: Path, lock: str | None
) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["app", "library"]\n')
    found = library(tmp_path / "library")
    app = locked(tmp_path / "app", sources="my_library = { workspace = true }", workspace=tmp_path)
    with pytest.raises(ConfigurationError, match=r"requires my-library from .*: pass packages='.*/library'"):
        Wheel(app, lock=lock, wheelhouse=house).prepare(target)
    made = Wheel(app, packages=found, lock=lock, wheelhouse=house).prepare(target)
    assert printed(made, "import app, my_library; print(my_library.F)") == "own"
    made = Wheel(app, dependencies="my_library==99.0", wheelhouse=house).prepare(target)  # the user says so
    assert printed(made, "import app, my_library; print(my_library.F)") == "another"


@NEEDS_UV
def test_only_the_requested_extras_of_a_lock_count(target: BuildTarget, tmp_path: Path, house: Path) -> None:
    found = library(tmp_path / "library")
    more = """
        [project.optional-dependencies]
        a = ["my_library"]
        b = ["my_library"]
        [dependency-groups]
        dev = ["my_library"]
        [tool.uv]
        conflicts = [[{ extra = "a" }, { extra = "b" }]]
        """
    app = locked(
        tmp_path / "app",
        sources='my_library = { path = "../library", editable = true }',
        more="\n".join(map(str.strip, more.splitlines())),
        dependencies="",
        workspace=tmp_path / "app",
    )
    assert printed(Wheel(app, lock="uv.lock", wheelhouse=house).prepare(target), "import app; print(1)") == "1"
    with pytest.raises(ConfigurationError, match=r"requires my-library from .*: pass packages='.*/library'"):
        Wheel(app, extras="a", lock="uv.lock", wheelhouse=house).prepare(target)
    made = Wheel(app, extras="a", packages=found, lock="uv.lock", wheelhouse=house).prepare(target)
    assert printed(made, "import app, my_library; print(my_library.F)") == "own"


def test_a_repository_in_a_lock_that_is_not_used_is_an_error(target: BuildTarget, tmp_path: Path, house: Path) -> None:
    app = project(tmp_path / "app", "app", "", requires=("my_library",))
    (app / "uv.lock").write_text(
        'version = 1\n\n[[package]]\nname = "app"\nversion = "1.2"\nsource = { editable = "." }\n\n'
        '[[package]]\nname = "my-library"\nversion = "1"\nsource = { git = "https://host/library?rev=main#1a2b" }\n'
    )
    with pytest.raises(ConfigurationError, match=r"requires my-library from https://host/.*: pass lock='uv.lock'"):
        Wheel(app, wheelhouse=house).prepare(target)


@NEEDS_UV
def test_a_lock_of_another_project_is_refused(target: BuildTarget, tmp_path: Path, house: Path) -> None:
    library(tmp_path / "library")
    sources = 'my_library = { path = "../library" }'
    app = locked(tmp_path / "app", sources=sources, workspace=tmp_path / "app")
    other = project(tmp_path / "other", "other", "")
    with pytest.raises(ConfigurationError, match=r"app/uv.lock is not the lock of .*/other"):
        Wheel(other, lock=app / "uv.lock", wheelhouse=house).prepare(target)
