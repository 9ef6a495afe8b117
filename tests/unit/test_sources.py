"""The hash of a project's sources: whatever goes into its wheel changes it, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurm.environments.sources import read_files, source_files, tree_digest
from slurm.errors import EnvironmentNotReady

NAMES = ["pyproject.toml", "src/pkg/__init__.py", "src/pkg/möd ule.py", "data/build/x.bin"]


def filled(directory: Path) -> Path:
    for name in NAMES:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    return directory


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A project in git: one file is tracked, the others not yet."""
    directory = filled(tmp_path / "project")
    git(directory, "init", "-q")
    (directory / ".gitignore").write_text("*.log\nsecret/\n")
    git(directory, "add", NAMES[0])
    return directory


@pytest.fixture(params=["git", "no git"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "git":
        found: Path = request.getfixturevalue("repository")
        return found
    return filled(tmp_path / "project")


def git(directory: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(directory), *words], check=True)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES), content=st.binary(max_size=12))
def test_another_content_of_any_file_is_another_hash_and_the_same_content_the_same(
    project: Path, name: str, content: bytes
) -> None:
    before, old = tree_digest(str(project)), (project / name).read_bytes()
    (project / name).write_bytes(content)
    assert (tree_digest(str(project)) == before) == (content == old)
    (project / name).write_bytes(old)
    assert tree_digest(str(project)) == before


def test_a_file_more_or_less_or_moved_or_executable_or_a_link_is_another_hash(project: Path) -> None:
    seen = [tree_digest(str(project))]
    (project / "new.py").write_text("new")
    seen.append(tree_digest(str(project)))
    (project / "new.py").rename(project / "newer.py")
    seen.append(tree_digest(str(project)))
    (project / "newer.py").chmod(0o755)
    seen.append(tree_digest(str(project)))
    (project / "link").symlink_to("newer.py")
    seen.append(tree_digest(str(project)))
    (project / "link").unlink()
    (project / "link").symlink_to("elsewhere")
    seen.append(tree_digest(str(project)))
    (project / NAMES[0]).unlink()  # git still tracks it
    seen.append(tree_digest(str(project)))
    assert len(set(seen)) == len(seen)


def test_what_builds_and_caches_leave_changes_nothing(project: Path) -> None:
    before = tree_digest(str(project))
    for name in (
        "src/pkg/__pycache__/x.pyc",
        "build/lib/pkg.py",
        "dist/p.whl",
        "src/p.egg-info/SOURCES.txt",
        ".venv/x",
    ):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("x")
    root = project / "jobs here" / "slurm-jobs"  # as an environment's first build makes it
    root.mkdir(parents=True)
    (root / ".gitignore").write_text("*\n")
    (root / "submission.json").write_text("{}")
    assert tree_digest(str(project)) == before


def test_what_git_ignores_changes_nothing(repository: Path) -> None:
    before = tree_digest(str(repository))
    (repository / "secret").mkdir()
    (repository / "secret" / "key").write_text("x")
    (repository / "run.log").write_text("x")
    assert tree_digest(str(repository)) == before
    git(repository, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "the same, committed")
    assert tree_digest(str(repository)) == before


def test_it_is_the_same_for_a_copy_elsewhere(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    assert tree_digest(str(copy)) == tree_digest(str(project))


def test_a_submodule_counts(repository: Path) -> None:
    inner = repository / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "x.py").write_text("1")
    before = tree_digest(str(repository))
    (inner / "x.py").write_text("2")
    assert tree_digest(str(repository)) != before


def test_slow_reading_is_reported_with_sizes(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    (project / "data.bin").write_bytes(bytes(12_000))
    read_files(str(project), source_files(str(project)), slow_seconds=-1.0)
    assert f"reading {project} took" in caplog.text
    assert "12.1 kB in total, the largest are data.bin (12 kB)" in caplog.text
    caplog.clear()
    read_files(str(project), source_files(str(project)), slow_seconds=1e9)
    assert caplog.text == ""


def test_a_file_that_cant_be_read_is_an_error(repository: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (repository / NAMES[0]).chmod(0)
    with pytest.raises(EnvironmentNotReady, match="cannot read"):
        tree_digest(str(repository))
