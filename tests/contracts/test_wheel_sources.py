"""Files that count for the environment of a project: those that git ignores, and those that its build writes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

from projects import project
from slurm.environments import generated
from slurm.environments.base import BuildTarget
from slurm.environments.setup import render_steps
from slurm.environments.wheel import Wheel
from slurm.errors import BuildFailed
from slurm.protocol import ResolvedEnvironment
from slurm.transports.local import LocalTransport


@pytest.fixture
def target(tmp_path: Path) -> BuildTarget:
    return BuildTarget.at(LocalTransport(), str(tmp_path / "jobs"))


@pytest.fixture
def builds(tmp_path: Path) -> Path:
    """A file with a character for each build."""
    (tmp_path / "builds").touch()
    return tmp_path / "builds"


def own(tmp_path: Path, builds: Path, *, ignored: str = "", building: str = "pass") -> Path:
    """A project in git, which counts its builds."""
    count = f"open({str(builds)!r}, 'a').write('x')"
    found = project(tmp_path / "own", "own", "", building=f"import time; {building}; {count}")
    (found / ".gitignore").write_text(ignored)
    subprocess.run(["git", "init", "-q"], cwd=found, check=True)
    subprocess.run(["git", "add", "."], cwd=found, check=True)
    return found


def printed(environment: ResolvedEnvironment, program: str) -> str:
    """The output of a Python program in an environment."""
    script = "\n".join([*render_steps(environment.setup), f'python -c "{program}"'])
    return subprocess.check_output(["bash", "-c", script], text=True).strip()


def remains(tmp_path: Path) -> list[str]:
    """The names in the directory of environments, other than those of complete ones and logs."""
    names = {path.name for path in (tmp_path / "jobs" / "envs").iterdir()}
    complete = {name.removesuffix(".json") for name in names if name.endswith(".json")}
    return sorted(name for name in names - complete if not name.endswith((".json", ".log")))


def test_generated_code_that_git_ignores_counts_if_the_wheel_has_it(
    target: BuildTarget, tmp_path: Path, builds: Path
) -> None:
    source = own(tmp_path, builds, ignored="*_pb2.py\nnotes/\n")
    wheel = Wheel(source, wheelhouse=tmp_path)
    found = [wheel.prepare(target)]
    for text in ("F = 1\n", "F = 2\n", "F = 1\n"):
        (source / "src" / "own" / "schema_pb2.py").write_text(text)
        found.append(wheel.prepare(target))
    assert len({environment.key for environment in found}) == 3
    assert found[1] == found[3]
    assert [printed(each, "import own.schema_pb2 as x; print(x.F)") for each in found[1:3]] == ["1", "2"]
    done = len(builds.read_text())
    (source / "tools_pb2.py").write_text("1")  # not in the wheel
    (source / "notes").mkdir()
    (source / "notes" / "a.txt").write_text("1")
    assert wheel.prepare(target) == found[1]
    (source / "tools_pb2.py").write_text("2")
    (source / "notes" / "a.txt").write_text("2")
    assert wheel.prepare(target) == found[1]
    assert len(builds.read_text()) == done + 1
    assert remains(tmp_path) == []


def test_generated_code_counts_for_another_client_of_the_same_cluster(
    target: BuildTarget, tmp_path: Path, builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = own(tmp_path, builds, ignored="gen/\n")
    (source / "src" / "own" / "gen").mkdir()
    part = source / "src" / "own" / "gen" / "part.py"
    part.write_text("F = 1\n")
    wheel = Wheel(source, wheelhouse=tmp_path)
    first = wheel.prepare(target)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another cache"))
    monkeypatch.setattr(generated, "_known", {})
    assert wheel.prepare(target) == first
    part.write_text("F = 2\n")
    assert printed(wheel.prepare(target), "import own.gen.part as x; print(x.F)") == "2"


@pytest.mark.parametrize("ignored", ["", "_version.py\n"])
@pytest.mark.parametrize("version", ["1", "time.time_ns()"])
def test_a_build_that_writes_a_file_of_the_package_runs_once(
    target: BuildTarget, tmp_path: Path, builds: Path, ignored: str, version: str
) -> None:
    building = f"Path('src/own/_version.py').write_text(f'VERSION = {{{version}}}')"
    source = own(tmp_path, builds, ignored=ignored, building=building)
    wheel = Wheel(source, wheelhouse=tmp_path)
    first = wheel.prepare(target)
    assert wheel.prepare(target) == first
    assert builds.read_text() == "x"
    assert remains(tmp_path) == []
    assert printed(first, "import own._version as x; print(bool(x.VERSION))") == "True"


def test_a_build_that_writes_the_same_file_beside_the_package_runs_twice(
    target: BuildTarget, tmp_path: Path, builds: Path
) -> None:
    source = own(tmp_path, builds, building="Path('version.txt').write_text('1')")
    wheel = Wheel(source, wheelhouse=tmp_path)
    assert wheel.prepare(target) == wheel.prepare(target)
    assert builds.read_text() == "xx"
    assert remains(tmp_path) == []


def test_a_file_that_each_build_changes_is_named_and_may_be_ignored(
    target: BuildTarget, tmp_path: Path, builds: Path
) -> None:
    source = own(tmp_path, builds, building="Path('stamp.txt').write_text(str(time.time_ns()))")
    wheel = Wheel(source, wheelhouse=tmp_path)
    with pytest.raises(BuildFailed, match=r"each build changes .*/own/stamp\.txt"):
        wheel.prepare(target)
    (source / ".gitignore").write_text("stamp.txt\n")
    assert wheel.prepare(target) == wheel.prepare(target)


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="pip is not installed")
def test_a_wheelhouse_has_the_packages_of_git_urls(
    target: BuildTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = project(tmp_path / "library", "library", "F = 'from git'\n")
    identity = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=library, check=True, env={**os.environ, **identity})
    url = "git+https://git.example/library"  # pip takes no git+file URL of a requirement
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{library.as_uri()}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://git.example/library")
    source = project(tmp_path / "main", "main", "", requires=(f"library @ {url}",))
    original = Wheel._run_installer

    def without_git(self: Wheel, *args: object) -> object:
        if library.exists():
            library.rename(tmp_path / "gone")  # the cluster does not reach it
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Wheel, "_run_installer", without_git)
    made = Wheel(source, wheelhouse=True).prepare(target)
    assert printed(made, "import main, library; print(library.F)") == "from git"
    (tmp_path / "gone").rename(library)
    made = Wheel(project(tmp_path / "bare", "bare", ""), wheelhouse=True, dependencies=f"library @ {url}").prepare(
        target
    )
    assert printed(made, "import bare, library; print(library.F)") == "from git"
