"""The command `slurm`: which cluster it uses, and jobs of several schedulers under one root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slurm import Cluster, task
from slurm.cli.main import slurm
from waiting import until

COUNTS = """\
import json, sys
counts = {"commands": 0, "files": 0, "listings": 0}
def count(event, args):
    if event == "subprocess.Popen":
        counts["commands"] += 1
    elif event == "open" and "/jobs/" in str(args[0]):
        counts["files"] += 1
    elif event in ("os.listdir", "os.scandir") and "/jobs/" in str(args[0]):
        counts["listings"] += 1
sys.addaudithook(count)
from slurm.cli.main import slurm
slurm(["jobs", "--json"], standalone_mode=False)
print(json.dumps(counts), file=sys.stderr)
"""


@task
def twice(x: int) -> int:
    return 2 * x


@task
def wait(path: str) -> None:
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.01)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A default root of the test's own, without a Slurmfile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SLURMFILE", "SLURMFILE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*argv: str) -> Result:
    return CliRunner().invoke(slurm, argv)


@pytest.mark.slurm
def test_a_key_is_enough_whatever_took_the_job(scratch: Path, slurm_env: object) -> None:
    with Cluster("local"):
        here = twice.with_options(labels={"at": "here"}).map([1, 2])
        held = wait(str(scratch / "gate"))
    with Cluster("slurm"):
        there = twice(4)
    assert run("wait", here.key, there.key).exit_code == 0
    assert [run("result", key).output for key in (here.key, there.key)] == ["[0] 2\n[1] 4\n", "8\n"]
    for name in (here.key, here.key[:-1], "at=here", str(here[0].job_id).partition("_")[0]):
        assert json.loads(run("show", name, "--json").output)["cluster"] == f"local://{scratch}/slurm-jobs"
    assert json.loads(run("show", "last", "--json").output)["cluster"] == "slurm"
    assert "there is no job" in str(run("show", "at=here", "--on", "slurm").exception)
    until(held.running)
    assert run("cancel", held.key).output == f"{held.key}: cancelled\n"
    rows = [line.split()[:3] for line in run("jobs").output.splitlines()]
    assert rows[0] == ["KEY", "CLUSTER", "JOB"]
    assert {(key, cluster) for key, cluster, _ in rows[1:]} == {
        (here.key, "local"),
        (held.key, "local"),
        (there.key, "slurm"),
    }
    assert [item["key"] for item in json.loads(run("ls", "--on", "slurm", "--json").output)] == [there.key]
    assert "CLUSTER" not in run("jobs", "slurm").output
    twice_named = run("jobs", "slurm", "--on", "local")
    assert (twice_named.exit_code, "two clusters are named: slurm and --on local" in twice_named.output) == (2, True)
    assert run("jobs", "--on", "slurm").output == run("jobs", "slurm", "--on", "slurm").output


@pytest.fixture
def broken_sbatch(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default cluster is a Slurm that does not answer."""
    commands = scratch / "bin"
    commands.mkdir()
    for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo"):
        (commands / name).write_text("#!/bin/sh\necho unable to contact the controller >&2\nexit 1\n")
        (commands / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")


@pytest.mark.usefixtures("broken_sbatch")
def test_every_command_finds_jobs_of_another_scheduler_than_the_default(scratch: Path) -> None:
    with Cluster("local"):
        held = wait(str(scratch / "gate"))
    until(held.running)
    assert run("config", "show").output.splitlines()[0].split(maxsplit=2) == [
        "url",
        "slurm",
        "default, because sbatch is on PATH",
    ]
    for command in ("show", "logs", "explain", "graph", "script"):
        done = run(command, "last")
        assert (command, done.exception) == (command, None)
    assert "there is no" not in str(run("result", "last", "--timeout", "0.1").exception)
    assert run("graph", "last").output == f"{held.key.rpartition('-')[2]} wait: RUNNING\n"
    threading.Timer(2, (scratch / "gate").touch).start()
    watched = run("watch")
    assert (watched.exit_code, watched.output.splitlines()[-1].split()[1:]) == (0, [f"{held.key}:", "COMPLETED"])
    assert run("watch").stderr == f"there are no unfinished jobs in {held.part.place.store.root}\n"
    assert run("watch", "--on", "slurm").stderr == "there are no unfinished jobs on slurm\n"


def test_a_slurmfile_without_a_default_leaves_the_default_cluster(scratch: Path) -> None:
    (scratch / "Slurmfile").write_text(f"clusters: {{mine: {{url: local, root: {scratch}/other}}}}\n")
    shown = {item["key"]: item["value"] for item in json.loads(run("config", "show", "--json").output)}
    assert shown["url"] == ("slurm" if shutil.which("sbatch") else "local")
    (reason,) = (item["origin"] for item in json.loads(run("config", "show", "--json").output) if item["key"] == "url")
    assert reason.startswith("default, because ")
    with Cluster("local"):
        job = twice(1)
    assert job.result(60) == 2
    assert job.key in run("jobs").output
    assert run("jobs", "mine").stderr == f"there are no jobs on local://{scratch}/other\n"
    (scratch / "Slurmfile").write_text(f"default: mine\nclusters: {{mine: {{url: local, root: {scratch}/other}}}}\n")
    assert run("jobs").stderr == f"there are no jobs in {scratch}/other\n"


def test_a_root_that_a_url_names_and_that_does_not_exist_is_told(scratch: Path) -> None:
    url, note = f"local://{scratch}/missing", f"note: the root {scratch}/missing does not exist. The first submission"
    (scratch / "file").touch()
    for words in (["jobs"], ["watch", "--on"], ["du"], ["gc", "--days", "1"], ["envs", "list"], ["envs", "gc"]):
        done = run(*words, url)
        assert (done.exit_code, done.stdout) == (0, "")
        assert done.stderr.endswith(f"\n{note} creates it\n")
        assert "note:" not in run(*(word for word in words if word != "--on")).stderr
    for words in (["jobs"], ["watch", "--on"]):
        assert f"the root {scratch}/file is not a directory" in str(run(*words, f"local://{scratch}/file").exception)


def test_a_list_of_a_thousand_submissions_reads_those_that_it_shows(scratch: Path) -> None:
    with Cluster("local"):
        job = twice(1)
        job.result(60)
    record = Path(job.directory, "submission.json").read_text()
    for second in range(999):
        key = f"twice/20260101T{second // 60:02}{second % 60:02}00Z-{second:08x}"
        shutil.copytree(job.directory, scratch / "slurm-jobs" / "jobs" / key)
        (scratch / "slurm-jobs" / "jobs" / key / "submission.json").write_text(record.replace(job.key, key))
    done = subprocess.run([sys.executable, "-c", COUNTS], capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)) == 20
    counts = json.loads(done.stderr)
    assert counts["commands"] <= 2
    assert counts["files"] <= 10 * 20
    assert counts["listings"] <= 25
