"""The doctor, on this machine and on a real Slurm cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm import Cluster, task
from slurm.doctor import examine
from slurm.doctor.diagnosis import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slurm.transports.base import Completed
    from testbed import SlurmTestbed


def levels(findings: list[Finding], check: str) -> list[Level]:
    return [finding.level for finding in findings if finding.check == check]


def errors(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level is Level.ERROR]


def test_healthy_cluster_has_no_errors_and_runs_a_job(cluster: Cluster, root: Path) -> None:
    findings = examine(cluster, run_job=True, timeout=60)
    assert errors(findings) == []
    for check in ("reach", "clock", "root", "space", "python", "containers", "scheduler", "job"):
        assert levels(findings, check), check
    assert levels(findings, "job") == [Level.OK]
    assert levels(findings, "submit") == levels(findings, "comment") == []
    assert not any((root / "jobs").iterdir())  # a job that has succeeded is removed


@pytest.mark.slurm
def test_jobs_that_cannot_submit_jobs_are_found(slurm_env: SlurmTestbed, root: Path) -> None:
    cluster = Cluster("slurm", root=root, setup=["export SLURM_CONF=/nowhere/slurm.conf"])
    (found,) = [each for each in examine(cluster, run_job=True, timeout=60) if each.check == "submit"]
    assert found.level is Level.WARNING
    assert found.found.startswith("a job on ")
    assert "/nowhere/slurm.conf" in found.found
    assert "workflows" in found.advice


def test_doctor_runs_two_commands_and_leaves_nothing_behind(
    cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[Sequence[str]] = []
    transport = cluster.place.transport
    run = transport.run

    def counted(argv: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
        commands.append(argv)
        return run(argv, stdin=stdin, timeout=timeout)

    monkeypatch.setattr(transport, "run", counted)
    root.mkdir(mode=0o700)
    assert errors(examine(cluster)) == []
    assert len(commands) == 2
    assert os.listdir(root) == []


@pytest.mark.slurm
def test_findings_have_version_limits_and_partitions_of_slurm(slurm_env: SlurmTestbed, root: Path) -> None:
    findings = examine(Cluster("slurm", root=root, options={"partition": "nosuch"}))
    text = "\n".join(finding.found for finding in findings)
    for expected in ("slurm: ", "MaxArraySize: ", "2 of 2 nodes usable", "time limit"):
        assert expected in text
    assert [finding.check for finding in errors(findings)] == ["partition"]


@pytest.mark.slurm
@pytest.mark.parametrize("limited", [False, True])
def test_who_may_use_a_partition_and_whether_memory_is_enforced(
    new_testbed: Callable[..., SlurmTestbed], root: Path, monkeypatch: pytest.MonkeyPatch, *, limited: bool
) -> None:
    testbed = new_testbed(partitions={"zoo": "AllowAccounts=zoo,park DenyQos=night"}, memory_limits=limited)
    for name, value in testbed.env.items():
        monkeypatch.setenv(name, value)
    findings = examine(Cluster("slurm", root=root))
    partitions = {finding.found.split()[0]: finding.found for finding in findings if finding.check == "partition"}
    assert partitions["zoo:"].endswith(", access: AllowAccounts=zoo,park DenyQos=night")
    assert "access" not in partitions["debug"]
    assert [finding.found[:12] for finding in findings if finding.check == "memory"] == ["not enforced"] * (not limited)


@pytest.mark.slurm
def test_accounting_is_found(new_testbed: Callable[..., SlurmTestbed], root: Path) -> None:
    testbed = new_testbed(accounting=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in testbed.env.items():
            patch.setenv(name, value)
        (found,) = (finding for finding in examine(Cluster("slurm", root=root)) if finding.check == "accounting")
    assert found.found.startswith("yes")


def test_all_problems_are_found_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o777)
    (tmp_path / "slurm.conf").touch()
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    cluster = Cluster("slurm", root=tmp_path / "root", python="/no/python", setup=["echo oops; false"])
    findings = examine(cluster)
    assert {finding.check for finding in errors(findings)} == {"python", "scheduler"}
    assert set(levels(findings, "root")) == {Level.WARNING}
    assert levels(findings, "setup") == [Level.WARNING]
    assert all(finding.advice for finding in findings if finding.level is not Level.OK)


def test_jobs_run_below_a_root_that_others_can_write_to(tmp_path: Path) -> None:
    """So it is a warning: the library checks the owners of the directories below the root."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o777)
    cluster = Cluster("local", root=tmp_path / "root")
    assert task(abs).on(cluster)(-1).result(60) == 1
    assert levels(examine(cluster), "root") == [Level.WARNING]


def test_root_in_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = next(f for f in examine(Cluster(root=tmp_path / "file" / "jobs")) if f.check == "root")
    assert (found.level, "is not a directory" in found.found) == (Level.ERROR, True)


def test_root_may_be_a_link_to_a_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert levels(examine(Cluster(root=tmp_path / "link")), "root") == [Level.OK]
    (tmp_path / "real").rmdir()
    assert levels(examine(Cluster(root=tmp_path / "link")), "root") == [Level.ERROR]


@pytest.mark.slurm
def test_job_that_does_not_start_in_time_is_cancelled_with_a_warning(slurm_env: SlurmTestbed, root: Path) -> None:
    cluster = Cluster("slurm", root=root, options={"hold": True})
    findings = examine(cluster, run_job=True, timeout=0.1)
    assert levels(findings, "job") == [Level.WARNING]
    (job,) = cluster.jobs()
    assert "JobCancelled" in repr(job.exception(60))  # type: ignore[union-attr]
