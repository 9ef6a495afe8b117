"""Job ids that mean another job: after Slurm lost its state, on another cluster, on another machine."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.conftest import Start
from slurm import Cluster, Job, JobState, Retry, task
from slurm.doctor import examine
from slurm.doctor.diagnosis import Level
from slurm.errors import JobCancelled, JobLost, SchedulerError, SubmissionError
from testbed import SlurmTestbed
from testbed.fixtures import SAME_IDS
from timing import set_timings
from waiting import remove, until


@task
def leave(gate: Path) -> str:
    """Run until there is a file."""
    while not gate.exists():
        time.sleep(0.1)
    return "left"


@task
def add(x: int) -> int:
    return x + 1


@task
def where() -> str:
    return os.getcwd()


@task(retry=Retry(times=1, on="ValueError"))
def fail_once(mark: Path) -> str:
    if not mark.exists():
        mark.touch()
        raise ValueError("once")
    return "done"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """What a `leave` waits for; there, at the latest, once the test has ended."""
    path = tmp_path / "gate"
    yield path
    path.touch()


def _begin_again(testbed: SlurmTestbed) -> None:
    """Have slurmctld lose its jobs and their numbers, as when its state is on a disk that was lost."""
    testbed.slurmctld.kill()
    remove(Path(testbed.env["SLURM_CONF"]).parent / "state")
    Path(testbed.env["SLURM_CONF"]).parent.joinpath("state").mkdir()
    testbed.slurmctld.start()
    testbed.wait_ready()


def _number(job: Job[str]) -> str:
    return str(job.job_id).partition("_")[0]


@pytest.mark.slurm
@pytest.mark.parametrize("new", ["ours", "theirs"])
def test_reused_job_id_is_another_job(start: Start, root: Path, gate: Path, new: str) -> None:
    testbed = start()
    with Cluster("slurm", root=root):
        old = leave.with_options(hold=True)(gate)
        _begin_again(testbed)
        job = leave(gate) if new == "ours" else None
        number = (
            _number(job)
            if job
            else testbed.run("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 60").stdout.strip()
        )
        assert number == _number(old)
        until(lambda: testbed.run("squeue", "-h", "-j", number, "-o", "%T").stdout == "RUNNING\n")
        assert old.status().state is JobState.UNKNOWN
        old.cancel()
        assert testbed.run("squeue", "-h", "-j", number, "-o", "%T").stdout == "RUNNING\n"
        if job:
            (gate).touch()
            assert job.result(60) == "left"
        with pytest.raises(JobLost, match="the scheduler doesn't know it"):
            old.result(60)


@pytest.mark.slurm
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can submit a job as another user")
def test_jobs_with_one_id_are_distinguished_in_accounting(start: Start, root: Path, gate: Path) -> None:
    testbed = start(accounting=True, settings={"MinJobAge": "2"})
    with Cluster("slurm", root=root) as cluster:
        older = testbed.run("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "exit 3").stdout.strip()
        until(lambda: testbed.run("squeue", "-h", "-t", "all").stdout == "", timeout=60)
        _begin_again(testbed)
        ours = leave.with_options(hold=True)(gate)
        assert _number(ours) == older
        testbed.run("scancel", older)
        until(lambda: testbed.run("squeue", "-h", "-t", "all").stdout == "", timeout=60)
        _begin_again(testbed)
        other = (f"--uid={pwd.getpwnam('nobody').pw_uid}", "--chdir=/", "--output=/dev/null", "--wrap", "true")
        others = testbed.run("sbatch", "--parsable", *other)
        assert others.stdout.strip() == older
        until(lambda: testbed.run("squeue", "-h", "-t", "all").stdout == "", timeout=60)
        kept = testbed.run("sacct", "-X", "-n", "-P", "--duplicates", "-j", older, "-o", "user").stdout.splitlines()
        assert len(kept) == 3
        assert type(cluster.job(ours.key).exception(60)) is JobCancelled  # type: ignore[union-attr]


@pytest.mark.slurm
def test_job_that_runs_only_in_accounting_is_a_runaway(
    start: Start, root: Path, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_timings(monkeypatch, runaway=3.0)
    testbed = start(accounting=True, settings={"MinJobAge": "2"})
    with Cluster("slurm", root=root):
        job = leave.with_options(hold=True)(gate)
        testbed.run("scancel", _number(job))
        until(lambda: testbed.run("squeue", "-h", "-t", "all").stdout == "", timeout=60)
        state = ("sacct", "-X", "-n", "-P", "-j", _number(job), "-o", "state")
        until(lambda: "CANCELLED" in testbed.run(*state).stdout, timeout=60)
        # As if its end had never reached slurmdbd, which nothing brings about at will.
        sql = "update testbed_job_table set state=1, time_end=0"
        testbed.run("mariadb", f"--socket={testbed.directory}/run/mariadb.sock", "slurm", "-e", sql)
        assert "RUNNING" in testbed.run(*state).stdout
        assert job.status().state is JobState.RUNNING
        with pytest.raises(JobLost, match="it left no outcome, and it is a runaway job of the accounting"):
            job.result(90)


@pytest.mark.slurm
@pytest.mark.parametrize("said", ["", "echo squeue: error: some trouble", "printf ARRAY_JOB_ID"])
def test_invalid_answer_of_squeue_loses_no_job(
    start: Start, root: Path, gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    testbed = start()
    with Cluster("slurm", root=root):
        job = leave(gate)
        until(job.running)
        # A fake: the real one can't be made to say nothing, or half of it, and exit with 0.
        (tmp_path / "squeue").write_text(f"#!/bin/sh\n{said}\n")
        (tmp_path / "squeue").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{testbed.env.get('PATH', '')}:/usr/local/bin:/usr/bin:/bin")
        with pytest.raises(SchedulerError, match="cannot get the state"):
            job.status()
        with pytest.raises(SchedulerError, match="cannot cancel jobs"):
            job.cancel()
        with pytest.raises(TimeoutError):
            job.result(14)  # longer than a job that is missing is waited for
        gate.touch()
        assert job.result(60) == "left"


@pytest.mark.slurm
@pytest.mark.usefixtures("two_clusters")
def test_jobs_on_another_cluster_behave_as_on_this_one(root: Path, gate: Path, tmp_path: Path) -> None:
    with Cluster("slurm", root=root, options={"clusters": "other"}) as cluster:
        held, running = leave.with_options(hold=True)(gate), leave(gate)
        chain, pairs = add(add(add(1))), add.map(add.map(range(3)))
        again = fail_once(tmp_path / "mark")
        here = leave.with_options(clusters="testbed", hold=True)(gate)
        until(running.running)
        assert (held.status().state, here.status().state) == (JobState.PENDING, JobState.PENDING)
        commands = dict(cluster.command_counts())
        cancelled = [type(job.exception(60)) for job in (held, here) if job.cancel()]
        assert cancelled == [JobCancelled, JobCancelled]
        assert cluster.command_counts()["cancel"] == commands.get("cancel", 0) + 2
        assert (chain.result(60), pairs.results(60), again.result(90)) == (4, [2, 3, 4], "done")
        with pytest.raises(SubmissionError, match="on cluster other and goes to testbed"):
            add.with_options(clusters="testbed")(running)
        found = Cluster("slurm", root=root, setup=["true"]).job(running.key)
        assert found.status().state is JobState.RUNNING  # type: ignore[union-attr]
        gate.touch()
        assert found.result(60) == "left"  # type: ignore[union-attr]


@pytest.mark.slurm
def test_dependents_go_to_the_cluster_of_their_upstream(
    two_clusters: tuple[SlurmTestbed, SlurmTestbed], root: Path, gate: Path
) -> None:
    first, second = two_clusters
    for _ in range(8):  # so that sbatch prefers the other cluster, for what could start at once
        first.run("sbatch", "-c", "1", "-o", "/dev/null", "--wrap", "sleep 600")
    with Cluster("slurm", root=root, options={"clusters": "testbed,other"}) as cluster:
        jobs = [leave.with_options(retry=Retry(times=1, on="ValueError"))(gate) for _ in range(4)]
        array = add.with_options(retry=1, hold=True).map(range(2))
        listed = [testbed.run("squeue", "-h", "-o", "%k").stdout.split() for testbed in (first, second)]
        for key in (*(job.key for job in jobs), array.key):
            assert [names.count(key) for names in listed] == [names.count(f"{key}~caretaker") for names in listed]
        gate.touch()
        first.cancel_all()
        array.cancel()
        ended = [job.exception(60) for job in jobs]
        assert {type(error) for error in ended} <= {type(None), JobCancelled}
        assert None in ended  # what ran on the other one
        assert cluster.command_counts()["submit"] == 5


@pytest.mark.slurm
@pytest.mark.parametrize("name", ["SLURM_CLUSTERS", "SBATCH_CLUSTERS"])
def test_exported_slurm_clusters_applies_to_all_commands(
    two_clusters: tuple[SlurmTestbed, SlurmTestbed],
    root: Path,
    gate: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    here = two_clusters[0].run("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 60").stdout.strip()
    monkeypatch.setenv(name, "other")
    with Cluster("slurm", root=root):
        job, chain = leave(gate), add(add(1))
        until(job.running)
        assert str(job.job_id).isascii()
        job.cancel()
        assert (type(job.exception(60)), chain.result(60)) == (JobCancelled, 3)
    assert two_clusters[0].run("squeue", "-h", "-j", here, "-o", "%T").stdout == "RUNNING\n"


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm_env")
def test_exported_variables_of_slurm_commands_have_no_effect(
    root: Path, gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("ACCOUNT", "NAMES", "PARTITION", "QOS", "USERS", "LICENSES", "SORT", "FORMAT", "FORMAT2", "STATES")
    exported = {f"SQUEUE_{name}": "-t" if name == "SORT" else "theirs" for name in names}
    exported |= {f"SCANCEL_{name}": "theirs" for name in ("ACCOUNT", "NAME", "PARTITION", "QOS", "USER", "WCKEY")}
    exported |= {"SCANCEL_STATE": "PENDING", "SCANCEL_INTERACTIVE": "1", "SCANCEL_BATCH": "1", "SLURM_BITSTR_LEN": "3"}
    exported |= {"SLURM_TIME_FORMAT": "relative", "SINFO_SORT": "theirs", "SACCT_FORMAT": "state", "CDPATH": "/usr"}
    exported |= {f"SBATCH_{name}": str(tmp_path / name) for name in ("ERROR", "OUTPUT", "INPUT")}
    for name, value in exported.items():
        monkeypatch.setenv(name, value)
    with Cluster("slurm", root=root, options={"chdir": "lib"}) as cluster:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "lib").mkdir()
        assert where().result(60) == str(tmp_path / "lib")
        job = leave(gate)
        until(job.running)
        job.cancel()
        assert type(job.exception(60)) is JobCancelled
        assert "CANCELLED" in job.logs()
        assert all(found.level is not Level.ERROR for found in examine(cluster))


@pytest.mark.slurm
def test_same_id_on_two_clusters_is_two_jobs(start: Start, root: Path, gate: Path) -> None:
    first = start(accounting=True, settings=SAME_IDS)
    with first.second_cluster(settings=SAME_IDS) as second, Cluster("slurm", root=root):
        here, there = leave(gate), leave.with_options(clusters="other", hold=True)(gate)
        assert _number(here) == _number(there)
        until(here.running)
        assert there.status().state is JobState.PENDING
        there.cancel()
        assert type(there.exception(60)) is JobCancelled
        assert here.status().state is JobState.RUNNING
        away = leave.with_options(clusters="other", hold=True)(gate)
        second.slurmctld.kill()
        argv = [sys.executable, "-m", "slurm", "jobs", f"slurm://{root}"]  # a process that knows of no earlier answer
        listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
        states = {line.split()[0]: line.split()[-1] for line in listed[1:]}
        assert states[here.key] == "RUNNING"
        if states[away.key] == "UNKNOWN":
            with pytest.raises(SchedulerError, match="cannot get the state"):
                away.status()
        else:  # slurmctld had told the accounting before it died
            assert (states[away.key], away.status().state) == ("PENDING", JobState.PENDING)
        other = leave.with_options(clusters="testbed", hold=True)(gate)
        assert (here.status().state, other.status().state) == (JobState.RUNNING, JobState.PENDING)
        gate.touch()
        assert here.result(60) == "left"


@pytest.mark.slurm
def test_clusters_sharing_a_root_do_not_touch_each_others_jobs(
    two_clusters: tuple[SlurmTestbed, SlurmTestbed], root: Path, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = leave.on(Cluster("slurm", root=root))(gate)
    until(job.running)
    for name, value in two_clusters[1].env.items():
        monkeypatch.setenv(name, value)
    found = Cluster("slurm", root=root, setup=["true"]).job(job.key)
    status = found.status()  # type: ignore[union-attr]
    assert status.state is JobState.UNKNOWN
    assert status.reason == "it was submitted to cluster testbed; here is cluster other"
    with pytest.raises(SchedulerError, match="can't be cancelled here: it was submitted to cluster testbed; here is"):
        found.cancel()
    gate.touch()
    assert found.result(60) == "left"  # type: ignore[union-attr]


def test_local_job_of_another_machine_is_unknown_until_its_result(
    local: Cluster, root: Path, gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = leave(gate)
    until(job.running)
    # Another directory stands for another machine's /tmp.
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(tmp_path / "there"))
    there = Cluster("local", root=root, setup=["true"])
    found = there.job(job.key)
    assert isinstance(found, Job)
    assert found.status().state is JobState.UNKNOWN
    with pytest.raises(SchedulerError, match=r"can't be cancelled here: it was submitted to .*; here is "):
        found.cancel()
    with pytest.raises(SubmissionError, match="cannot wait here for"):
        add.on(there)(found)
    with pytest.raises(TimeoutError):
        found.result(12)
    gate.touch()
    assert found.result(30) == "left"


@pytest.mark.usefixtures("short_grace")
def test_local_job_is_lost_after_a_restart_of_the_machine(local: Cluster, root: Path, gate: Path) -> None:
    job = leave(gate)
    until(job.running)
    record = Path(job.directory, "submitted.json")
    text = json.loads(record.read_text())
    text["blocks"][0]["origin"]["boot"] = "that of an earlier day"  # no test can restart the machine
    record.write_text(json.dumps(text))
    found = Cluster("local", root=root, setup=["true"]).job(job.key)
    with pytest.raises(JobLost, match="the machine was restarted"):
        found.result(60)  # type: ignore[union-attr]


def test_job_of_another_scheduler_is_read_but_not_queried(
    local: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = add(1)
    assert job.result(60) == 2
    if shutil.which("squeue") is None:
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
    far = Cluster("slurm", root=root)
    found = far.job(job.key)
    assert found.result(60) == 2  # type: ignore[union-attr]
    assert far.command_counts().get("query") is None
