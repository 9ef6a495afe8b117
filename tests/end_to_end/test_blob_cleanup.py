"""Cleanup of the files that were sent for commands and by `put`."""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path

import pytest

from slurm import Cluster, command, task
from slurm.clusters.environment_cleanup import collect
from slurm.errors import SubmissionError
from slurm.protocol.shell import program
from slurm.storage import uploads
from testbed import missing_faketime
from testbed.programs import find_faketime
from waiting import remove, until


@task
def read(path: Path) -> str:
    return "".join(sorted(file.read_text() for file in path.rglob("*") if file.is_file()))


@task
def padded(padding: bytes, values: list[int]) -> list[int]:
    return values


@task
def multiply(x: int, values: list[int]) -> list[int]:
    return [x * value for value in values]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if reason := missing_faketime():
        pytest.skip(reason)
    monkeypatch.setattr(uploads, "_LISTING_SECONDS", 0.0)  # hours pass between two steps of these tests
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("used", "unused", "data/a", "data/b"):
        Path(name).write_text(name)
    return tmp_path


def clean(root: Path, *, day: int) -> list[str]:
    """Remove what is older than 30 days, with a clock some days ahead; return what is there, without digests."""
    code = program("slurm.clusters.environment_cleanup", "remove_blobs.sh")
    argv = ["sh", "-c", code, "sh", str(root / "blobs"), "30"]
    clock = {"LD_PRELOAD": str(find_faketime()), "FAKETIME": f"+{day}d", "NO_FAKE_STAT": "1"}
    subprocess.run(argv, env={**os.environ, **clock}, check=True)
    return names(root)


def names(root: Path) -> list[str]:
    return sorted(name.partition("-")[2] for name in os.listdir(root / "blobs") if not name.endswith("runner.zip"))


def test_files_that_no_submission_names_are_removed(local: Cluster, root: Path, project: Path) -> None:
    data = local.put(project / "data")
    assert read(data).result(60) == "data/adata/b"
    job, gone = command("cat used")(), command("cat unused")()
    assert (job.result(60).exit_code, gone.result(60).exit_code) == (0, 0)
    assert names(root) == ["file"] * 5 + ["tree"]
    assert clean(root, day=40) == names(root) == ["file"] * 5 + ["tree"]
    remove(root / "jobs" / gone.key)
    collect(local, days=0)
    assert clean(root, day=20) == ["file"] * 5 + ["tree"]
    assert clean(root, day=40) == ["file"] * 5 + ["file.unused", "tree"]
    assert clean(root, day=41) == ["file"] * 4 + ["tree"]
    assert read(data).result(60) == "data/adata/b"
    assert command("cat unused")().result(60).exit_code == 0


def test_a_tree_is_removed_with_its_files(local: Cluster, root: Path, project: Path) -> None:
    data = local.put(project / "data")
    job = read(data)
    job.result(60)
    remove(root / "jobs" / job.key)
    assert clean(root, day=40) == [*["file"] * 3, *["file.unused"] * 3, "tree", "tree.unused"]
    assert clean(root, day=41) == []
    with pytest.raises(SubmissionError, match=r"is no longer in .*: put\(\) it again"):
        read(pickle.loads(pickle.dumps(data)))
    assert read(local.put(project / "data")).result(60) == "data/adata/b"


def test_files_that_calls_of_a_pool_use_stay(local: Cluster, root: Path, project: Path) -> None:
    data, size, more = local.put(project / "data"), local.put([1, 2, 3]), local.put([4])
    unused = local.put(["nothing uses this"])
    with local.pool(workers=(0, 1), time="10:00", idle=1) as pool:
        assert read.on(pool)(data).result(60) == "data/adata/b"
        assert multiply.on(pool).map([1, 2], values=size).results(60) == [[1, 2, 3], [2, 4, 6]]
        assert padded.on(pool)(bytes(100_000), more).result(60) == [4]  # large arguments are a file of their own
        for day in (40, 41):
            clean(root, day=day)
        blobs = {path.name.partition("-")[0] for path in (root / "blobs").iterdir()}
        assert {data.sha256, size.sha256, more.sha256} <= blobs
        assert unused.sha256 not in blobs
        assert read.on(pool)(data).result(60) == "data/adata/b"
    until(pool.jobs.done)
    remove(root / "jobs" / pool.key)
    for day in (40, 41):
        clean(root, day=day)
    assert names(root) == []


def test_a_marked_file_is_sent_again_and_stays(local: Cluster, root: Path, project: Path) -> None:
    job = command("cat used")()
    job.result(60)
    remove(root / "jobs" / job.key)
    assert clean(root, day=40) == ["file", "file.unused"]
    (blob,) = (root / "blobs").glob("*-file")
    before = blob.stat().st_ino
    assert command("cat used")().result(60).exit_code == 0
    assert blob.stat().st_ino != before
    assert clean(root, day=80) == ["file"]


def test_nothing_is_removed_if_a_record_cannot_be_read(local: Cluster, root: Path, project: Path) -> None:
    job = command("cat used")()
    job.result(60)
    (root / "jobs" / job.key / "submission.json").unlink()
    (root / "jobs" / job.key / "submission.json").symlink_to("nothing")
    with pytest.raises(subprocess.CalledProcessError):
        clean(root, day=40)
    assert names(root) == ["file"]
