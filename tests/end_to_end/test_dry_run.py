"""Dry runs of each kind of call change no file: not under the root, in the cache, or in the working directory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from slurm import Cluster, command, task, workflow


@task(time="5", labels={"sweep": "depths"})
def square(x: int) -> int:
    return x * x


@task
def first(values: list[int]) -> int:
    return values[0]


@workflow
def flow(x: int) -> int:
    return square(x).result()


def contents(*directories: Path) -> dict[str, tuple[int, str]]:
    """The mode, and the digest or the target, of all entries below some directories."""
    found = {}
    for path in (path for directory in directories for path in directory.rglob("*")):
        data = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path)] = path.lstat().st_mode, hashlib.sha256(data).hexdigest()
    return found


def test_dry_runs_leave_all_files_as_they_are(
    cluster: Cluster, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "project"
    here.mkdir()
    monkeypatch.chdir(here)
    Path("settings.txt").write_text("settings")
    program = command("cat settings.txt", files=["settings.txt"])
    values = cluster.put([3, 1, 2])
    job = square(2)
    assert job.result(90) == 4
    watched = root, here, Path(os.environ["XDG_CACHE_HOME"])
    before = contents(*watched)
    assert any(name.endswith("settings.txt") for name in before)
    for offline in (False, True):
        cluster.plan(square, [(1,), (2,)], offline=offline)
        cluster.plan(square.with_options(chunk_size=2), [(1,), (2,), (3,)], offline=offline)
    for plan in (square.plan(3), square.plan(job), first.plan(values), flow.plan(3), program.plan()):
        assert plan.script
    assert square.with_options(reuse=True).plan(3).script
    assert cluster.script(square)
    assert [found.key for found in Cluster(cluster.url, root=root).jobs()] == [job.key]
    job.logs()
    assert job.files() == []
    assert contents(*watched) == before
