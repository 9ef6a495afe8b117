"""Diagnosis: findings from the output of commands."""

from __future__ import annotations

import subprocess

import pytest

from slurm.doctor import diagnosis
from slurm.doctor.diagnosis import Level
from slurm.schedulers.base import Scheduler, Site
from slurm.schedulers.slurm import SlurmScheduler
from slurm.schedulers.survey import Partition, Survey
from slurm.url import ClusterURL

SLURM = SlurmScheduler(Site("python3", ""))
ROOMY = "/dev/sda 1000000000 1 900000000 1% /"


@pytest.mark.parametrize(
    ("clock", "level", "text"),
    [
        (1000, Level.OK, "agrees"),
        (1003, Level.OK, "agrees"),
        (1060, Level.WARNING, "59 s ahead of"),
        (900, Level.WARNING, "99 s behind"),
    ],
)
def test_clocks_may_differ_by_five_seconds_and_the_time_of_the_command(clock: int, level: Level, text: str) -> None:
    *_, found = diagnosis.place(f"n1\nann\n1000\n{clock}", before=1000.0, after=1001.0)
    assert (found.level, text in found.found) == (level, True)


@pytest.mark.parametrize(
    ("root", "write", "level", "text"),
    [
        ("/d\n/d\ndrwx------ 2 1000 1000 4096 Jan 1 00:00 /d", "", Level.OK, "accessible to you only"),
        ("/d/e\n/d\ndrwxr-xr-x 2 0 0 4096 Jan 1 00:00 /d", "", Level.OK, "will be created in /d"),
        ("/d\n/d\ndrwxr-x--- 2 1000 1000 4096 Jan 1 00:00 /d", "", Level.WARNING, "accessible to others"),
        ("/d\n/d\ndrwxrwx--- 2 1000 1000 4096 Jan 1 00:00 /d", "", Level.WARNING, "writable by others"),
        ("/d\n/d\ndrwxrwxrwx 2 1000 1000 4096 Jan 1 00:00 /d", "", Level.WARNING, "writable by others"),
        ("/d\n/d\ndrwxrwxrwt 2 0 0 4096 Jan 1 00:00 /d", "", Level.WARNING, "belongs to another user"),
        ("/d\n/d\ndrwxr-xr-x 2 0 0 4096 Jan 1 00:00 /d", "Permission denied", Level.ERROR, "Permission denied"),
        ("/d/e\n/d\n-rw-r--r-- 2 1000 1000 1 Jan 1 00:00 /d", "", Level.ERROR, "is not a directory"),
        ("e\n.\ndrwx------ 2 1000 1000 1 Jan 1 00:00 .", "", Level.ERROR, "not an absolute path"),
    ],
)
def test_root_must_be_private_and_writable(root: str, write: str, level: Level, text: str) -> None:
    sections = {"place": "n1\nann\n1000\n0", "root": root, "state": "", "write": write, "space": ROOMY, "files": ROOMY}
    found = next(diagnosis.root(sections, shared=True))
    assert (found.level, text in found.found) == (level, True), found
    assert bool(found.advice) == (level is not Level.OK)


def test_directory_of_another_user_in_the_root_is_an_error() -> None:
    root = "/d\n/d\ndrwxrwxrwt 2 0 0 4096 Jan 1 00:00 /d"
    state = "untrusted 1000: drwxrwxrwx 2 1001 1001 4096 Jan 1 00:00 /d/blobs"
    sections = {"place": "n1\nann\n1000\n0", "root": root, "state": state, "write": "", "space": ROOMY, "files": ROOMY}
    found = list(diagnosis.root(sections, shared=True))[1]
    assert (found.level, "/d/blobs belongs to user 1001" in found.found) == (Level.ERROR, True)
    assert "root=" in found.advice


def test_node_local_root_and_low_space_are_reported() -> None:
    sections = {
        "place": "n1\nann\n1000\n0",
        "root": "/run/x\n/run/x\ndrwx------ 2 1000 1000 4096 Jan 1 00:00 /run/x",
        "state": "",
        "write": "",
        "space": "/dev/sda 1000000 990000 10000 99% /tmp",
        "files": "/dev/sda 1000000 999900 100 100% /tmp",
    }
    levels = [(found.check, found.level) for found in diagnosis.root(sections, shared=True)]
    expected = [("root", Level.OK), ("root", Level.WARNING), ("space", Level.ERROR), ("space", Level.WARNING)]
    assert levels == expected
    uncounted = {**sections, "files": "none 0 0 0 - /tmp"}
    assert [found.check for found in diagnosis.root(uncounted, shared=False)] == ["root", "space"]


SINFO = """\
SLURM_VERSION           = 20.02.1
AccountingStorageType   = accounting_storage/slurmdbd
MaxArraySize            = 1001
part|cpu*|up|1-00:00:00|3|idle|64|256000|(null)
part|cpu*|up|1-00:00:00|1|down*|64|256000|(null)
part|gpu|down|1:00:00|2|idle|64|512000|gpu:a100:4
part|old|up|infinite|2|drained|16|64000|(null)
assoc|physics||10|100|
assoc|physics|gpu||
"""


def test_survey_of_slurm_is_parsed_despite_other_output() -> None:
    survey = SLURM.parse_survey("a banner\n" + SINFO)
    assert (survey.version, survey.old, survey.accounting) == ("20.02.1", True, True)
    assert survey.limits["account physics"] == "MaxJobs 10, MaxSubmit 100"
    assert survey.partitions == (
        Partition("cpu", True, True, "1-00:00:00", 4, 3, "64", "256000", "(null)"),
        Partition("gpu", False, False, "1:00:00", 2, 2, "64", "512000", "gpu:a100:4"),
        Partition("old", False, True, "infinite", 2, 0, "16", "64000", "(null)"),
    )
    levels = [found.level for found in diagnosis.partitions(survey, "")]
    assert levels == [Level.OK, Level.WARNING, Level.WARNING]
    levels = [found.level for found in diagnosis.partitions(survey, "gpu,gup")]
    assert levels == [Level.ERROR, Level.OK, Level.ERROR, Level.WARNING]
    assert next(diagnosis.scheduler("slurm", survey)).level is Level.WARNING


def test_scheduler_that_does_not_answer_is_an_error_with_advice() -> None:
    (absent,) = diagnosis.scheduler("slurm", SLURM.parse_survey("sbatch: command not found"))
    assert absent.level is Level.ERROR
    assert "login_shell" in absent.advice
    (down,) = diagnosis.scheduler("slurm", SLURM.parse_survey("slurm_load_ctl_conf error: Unable to contact slurm"))
    assert (down.level, "Unable to contact" in down.found) == (Level.ERROR, True)


@pytest.mark.parametrize(
    ("needs", "version", "trouble"),
    [
        (("bash", "env"), "unknown", ""),
        (("no-such-1", "bash", "no such 2"), "", "commands not found: no-such-1 no such 2"),
    ],
)
def test_a_scheduler_without_a_survey_of_its_own_needs_its_commands(
    needs: tuple[str, ...], version: str, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SLURM, "needs", needs, raising=False)
    script = Scheduler.survey_script(SLURM)
    output = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False).stdout
    survey = Scheduler.parse_survey(SLURM, output)
    assert (survey.version, survey.trouble) == (version, trouble)


def test_a_survey_that_printed_something_else_is_shown() -> None:
    assert Scheduler.parse_survey(SLURM, "bash: not found").trouble == "bash: not found"


def test_short_min_job_age_is_a_warning_without_accounting() -> None:
    def level(age: str) -> Level:
        survey = Survey(version="22.05", accounting=False, limits={"MinJobAge": age})
        return next(found.level for found in diagnosis.scheduler("slurm", survey) if found.check == "accounting")

    assert (level("300 sec"), level("2 sec")) == (Level.OK, Level.WARNING)


def test_advice_for_an_unreachable_host_is_an_ssh_command() -> None:
    assert diagnosis.how_to_reach(ClusterURL.parse("slurm+ssh://ann@login:2222/x")).endswith(
        "ssh -p 2222 ann@login true"
    )


def test_missing_container_runtime_is_not_an_error() -> None:
    assert diagnosis.containers("apptainer podman ").found == "apptainer podman"
    assert diagnosis.containers("").level is Level.OK
