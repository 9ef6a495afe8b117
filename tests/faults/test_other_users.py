"""A second user of the same machine: what is planted runs as nobody else, and what is ours is closed to others."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from accounts import NEEDS_ROOT, User, two_users

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = NEEDS_ROOT

CALL = """
import sys
from slurm import Cluster, task

@task
def double(x):
    return 2 * x

with Cluster("local", root=sys.argv[1] if sys.argv[1:] else None) as cluster:
    try:
        print("RESULT", double(21).result(timeout=60))
    except Exception as error:
        print(type(error).__name__, error)
"""
PLANT = """
import os, sys, zipfile
from slurm.storage.runner_zip import bundle

root, kind, mark = sys.argv[1:]
os.umask(0)
evil = f"import os\\nopen({mark!r} + str(os.getuid()), 'w').close()\\n"
os.makedirs(f"{root}/blobs")
os.makedirs(f"{root}/jobs")
if kind == "runner":
    path = f"{root}/blobs/{bundle().name}"
    with open(path, "wb") as file:
        file.write(bundle().data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("slurm/__init__.pyc", b"")
        archive.writestr("slurm/__init__.py", evil)
elif kind == "link":
    os.rmdir(f"{root}/blobs")
    os.symlink(sys.argv[3] + "-of-ann", f"{root}/blobs")
"""


@pytest.fixture
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[User, User]]:
    """Two users, in a directory that both can reach; pytest's own are closed to all but the one who runs it."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(prefix="slurm-test-users-") as name:
        os.chmod(name, 0o755)  # noqa: S103 - for both to enter
        with two_users(Path(name, "place")) as both:
            yield both


@pytest.fixture
def scratch(users: tuple[User, User]) -> Path:
    """A directory as sites have it: everybody may make something there."""
    place = users[0].home.parent / "scratch"
    place.mkdir()
    place.chmod(0o1777)
    return place


@pytest.mark.parametrize("kind", ["runner", "empty", "link"])
def test_files_planted_by_another_user_are_rejected(users: tuple[User, User], scratch: Path, kind: str) -> None:
    ann, bob = users
    (scratch / "ran-as--of-ann").mkdir()
    os.chown(scratch / "ran-as--of-ann", ann.uid, ann.uid)
    planted = bob.python(PLANT, scratch / "slurm-jobs", kind, scratch / "ran-as-")
    assert planted.returncode == 0, planted.stderr
    said = ann.python(CALL, SCRATCH=str(scratch))
    assert "UntrustedFile" in said.stdout + said.stderr
    assert f"{scratch}/slurm-jobs/" in said.stdout + said.stderr
    assert "root=" in said.stdout + said.stderr
    assert not (scratch / f"ran-as-{ann.uid}").exists()
    assert list((scratch / "ran-as--of-ann").iterdir()) == []  # nothing was written through the link


def test_root_of_another_user_is_accepted_if_its_contents_are_ours(users: tuple[User, User], scratch: Path) -> None:
    ann, bob = users
    assert bob.run("mkdir", "-m", "1777", scratch / "group").returncode == 0
    assert ann.run("ln", "-s", scratch / "group", ann.home / "scratch").returncode == 0
    said = ann.python(CALL, ann.home / "scratch")
    assert said.stdout == "RESULT 42\n", said.stderr
    again = ann.python(CALL, ann.home / "scratch")
    assert again.stdout == "RESULT 42\n", again.stderr
    refused = bob.python(CALL, scratch / "group")
    assert "UntrustedFile" in refused.stdout + refused.stderr


@pytest.mark.parametrize("umask", ["000", "002", "077"])
def test_directories_are_private_with_any_umask(users: tuple[User, User], scratch: Path, umask: str) -> None:
    ann, _ = users
    program = f"import os\nos.umask(0o{umask})\n{CALL}"
    for _ in range(2):
        said = ann.python(program, SCRATCH=str(scratch), XDG_CACHE_HOME=str(ann.home / "x" / "cache"))
        assert said.stdout == "RESULT 42\n", said.stderr
    ours = [scratch / "slurm-jobs", ann.home / "local", ann.home / "x"]
    made = [path for top in ours for path in (top, *top.rglob("*")) if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}
    assert len(made) > 10


def test_private_group_counts_as_the_user(users: tuple[User, User], scratch: Path) -> None:
    ann, bob = users
    root = scratch / "slurm-jobs"
    assert ann.python(CALL, root).stdout == "RESULT 42\n"
    for path in (root / "blobs", *(root / "blobs").iterdir(), root / "jobs"):
        path.chmod(path.stat().st_mode | 0o020)
    assert ann.python(CALL, root).stdout == "RESULT 42\n"
    os.chown(root / "jobs", -1, bob.uid)
    (root / "jobs").chmod(0o770)  # chown(2) may take rights away
    said = ann.python(CALL, root)
    assert f"UntrustedFile {root}/jobs is writable by other users (mode 0770)" in said.stdout
    assert f"chmod go-w {root}/jobs" in said.stdout
    assert ann.run("chmod", "go-w", root / "jobs").returncode == 0
    assert ann.python(CALL, root).stdout == "RESULT 42\n"
