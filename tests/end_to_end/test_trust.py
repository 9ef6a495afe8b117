"""What lies under a root is run, removed or believed only if nobody else could have written it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slurm import Cluster, task
from slurm.clusters.cluster import Cluster as AnyCluster
from slurm.clusters.environment_cleanup import collect
from slurm.errors import UntrustedFile
from slurm.options import Options
from slurm.protocol import Block
from slurm.schedulers.base import Request, Site
from slurm.schedulers.local_queue import commands, monitor
from slurm.schedulers.slurm import SlurmScheduler
from slurm.schedulers.submit_and_record import script
from slurm.storage.runner_zip import bundle, made

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@task
def double(x: int) -> int:
    return 2 * x


def another(root: Path) -> AnyCluster:
    """A cluster that looks at the root anew, as one of another process does."""
    return Cluster("local", root=root, python=sys.executable)


@pytest.fixture
def used(root: Path) -> Path:
    """A root that a job has been run under."""
    with Cluster("local", root=root):
        assert double(1).result(60) == 2
    return root


@pytest.mark.parametrize("which", ["jobs", "blobs", "runner"])
def test_a_root_with_something_that_others_can_write_takes_no_job(used: Path, which: str) -> None:
    loose = used / "blobs" / bundle().name if which == "runner" else used / which
    loose.chmod(0o707)
    with another(used), pytest.raises(UntrustedFile, match=f"chmod go-w '{loose}'"):
        double(2)
    loose.chmod(0o700)
    with another(used):  # the same one, which has looked before
        assert double(2).result(60) == 4


@ROOT_ONLY
@pytest.mark.parametrize("which", ["jobs", "blobs", "envs", "root"])
def test_a_link_that_another_user_has_made_is_not_followed(used: Path, tmp_path: Path, which: str) -> None:
    away, link = tmp_path / "away", used if which == "root" else used / which
    if link.exists():
        link.rename(away)
    else:
        away.mkdir(mode=0o700)
    link.symlink_to(away)
    with another(used):  # one of one's own leads anywhere
        assert double(2).result(60) == 4
    os.chown(link, 4321, -1, follow_symlinks=False)
    with (
        Cluster("local", root=used, setup=["true"]),
        pytest.raises(UntrustedFile, match="is a symbolic link that belongs to user 4321"),
    ):
        double(2)


def test_a_runner_that_was_changed_is_sent_anew(used: Path) -> None:
    runner = used / "blobs" / bundle().name
    before = runner.stat().st_ino
    with another(used):
        assert double(2).result(60) == 4
    assert runner.stat().st_ino == before
    runner.write_bytes(bundle().data[:-1])
    with Cluster("local", root=used, setup=["true"]):
        assert double(2).result(60) == 4
    assert runner.read_bytes() == bundle().data


def test_a_runner_in_the_cache_that_others_can_write_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made.cache_clear()
    data = bundle().data
    [kept] = tmp_path.glob("slurm-tasks/*.zip")
    kept.write_bytes(b"of somebody else")
    kept.chmod(0o606)
    made.cache_clear()
    assert bundle().data == data
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (data, 0o600)


def test_a_record_that_others_can_write_is_left_out_of_lists(local: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    jobs = [double(1), double(2), double(3)]
    assert [job.result(60) for job in jobs] == [2, 4, 6]
    Path(jobs[0].directory, "submission.json").chmod(0o606)
    Path(jobs[2].directory).chmod(0o707)
    with caplog.at_level(logging.WARNING, "slurm"):
        assert [job.key for job in local.jobs()] == [jobs[1].key]
    assert [jobs[0].key in caplog.text, jobs[2].key in caplog.text] == [True, True]
    with pytest.raises(UntrustedFile):
        another(Path(local.place.store.root)).job(jobs[0].key)


@ROOT_ONLY
def test_clearing_up_follows_no_link_of_another_users(used: Path, tmp_path: Path) -> None:
    precious = tmp_path / "home" / "project"
    precious.mkdir(parents=True)
    (used / "envs").symlink_to(precious.parent)
    os.chown(used / "envs", 4321, -1, follow_symlinks=False)
    with pytest.raises(UntrustedFile, match="is a symbolic link that belongs to user 4321"):
        collect(another(used), days=0)
    assert precious.is_dir()


@ROOT_ONLY
def test_a_script_of_another_users_is_not_queued(tmp_path: Path) -> None:
    """By a fake sbatch, which notes that it was called."""
    sbatch = tmp_path / "sbatch"
    sbatch.write_text(f"#!/bin/sh\ntouch '{tmp_path}/called'\necho 5\n")
    sbatch.chmod(0o755)
    batch = tmp_path / "its script.sh"
    batch.touch()
    asked = Request(str(batch), "f/1", "/r/logs/%a.log", Block(first=0, count=1), Options.parse({}))
    lines = script(SlurmScheduler(Site("python3", "")), f"{tmp_path}/submitted.json", [asked], (), None)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    os.chown(batch, 4321, -1)
    done = subprocess.run(["sh", "-c", lines], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, (tmp_path / "called").exists()) == (1, "", False)
    assert f"{batch} is not yours" in done.stderr
    os.chown(batch, 0, -1)
    done = subprocess.run(["sh", "-c", lines], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "5\n")


def test_the_local_scheduler_starts_no_script_that_others_can_write(tmp_path: Path) -> None:
    batch = tmp_path / "script.sh"
    batch.touch(mode=0o600)
    batch.chmod(0o606)
    submission = commands.submission(str(batch), [], {"array": "0", "output": str(tmp_path / "log")})
    with pytest.raises(PermissionError, match="other users can change"):
        monitor.execute(monitor.Start("1", 0, submission, 1, 1, str(tmp_path / "note")))
