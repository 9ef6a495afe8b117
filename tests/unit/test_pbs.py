"""PBS: what an option becomes, and how recorded answers of real servers are parsed.

Sources of the answers, of which lines that are not read are left out, and to which SLURMTASKS_ variables are added:
OpenPBS 22.05 in JSON, and without a connection: the specs of QutEcoacoustics/baw-server for its PBS connection. PBS
Professional as text: aiidateam/aiida-core, tests/schedulers/test_torque.py. Torque 6: bcgsc/mavis, the tests of its
schedulers. Messages: the same, adaptivecomputing/torque's database of errors, and sites' pages about their rejections.
Exit statuses: PBS Professional's Reference Guide 2024.1, table 11-2, and Torque 6.1's page Job Exit Status.
"""

from __future__ import annotations

import itertools
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from slurm.errors import OptionError
from slurm.options import Options
from slurm.protocol import Block
from slurm.protocol.states import JobState
from slurm.schedulers.base import Dependency, Failure, Report, Request, Site
from slurm.schedulers.pbs import PBSScheduler

JSON = """\
{
    "timestamp":1665476097,
    "pbs_version":"22.05.11",
    "pbs_server":"725ccdf1a5fb",
    "Jobs":{
        "0.725ccdf1a5fb":{
            "Job_Name":"testname",
            "resources_used":{
                "cpupercent":0,
                "walltime":"00:00:00"
            },
            "job_state":"F",
            "exec_host":"725ccdf1a5fb/0",
            "Resource_List":{
                "ncpus":1,
                "select":"1:ncpus=1"
            },
            "substate":92,
            "Variable_List":{
                "PBS_O_HOME":"/home/pbsuser",
                "SLURMTASKS_FIRST":3,
                "SLURMTASKS_TAG":"a/b c%2Cd"
            },
            "comment":"Job run at Tue Oct 11 at 08:13 on (725ccdf1a5fb:ncpus=1) and finished",
            "Exit_status":0
        }
    }
}

end
"""
NO_SERVER = """\
{
    "timestamp":1750053827,
    "pbs_version":"22.05.11",
    "pbs_server":"6cfab3a0b8ac"
}

end
"""
TEXT = """\
Job Id: 69301.mycluster
    Job_Name = Cu-dbp
    resources_used.walltime = 64:26:16
    job_state = R
    exec_host = b141/0*16+b142/0*16+b143/0*16+b144/0*16
    Resource_List.walltime = 72:00:00
    substate = 42
    Variable_List = SSH_ASKPASS=/usr/libexec/openssh/gnome-ssh-askpass,
\tmodule=() {  eval `/usr/bin/modulecmd bash $*`,},
\tLESSOPEN=|/usr/bin/lesspipe.sh %s,SLURMTASKS_TAG=a/20261127T093
\t012Z-1a2b3c4d
    comment = Job run at Sat Apr 20 at 01:36 on (b141:ncpus=16)+(b142:ncpus=16)
\t+(b143:ncpus=16)+(b144:ncpus=16)

Job Id: 69302.mycluster
    job_state = H
    depend = afterok:69301.mycluster@mycluster.cluster
    Hold_Types = s
    substate = 22

end
"""
TORQUE = """\
Job Id: 9.torque01.bcgsc.ca
    Job_Name = subtest.sh
    resources_used.walltime = 00:01:00
    job_state = C
    exec_host = torque01.bcgsc.ca/0
    Resource_List.walltime = 01:00:00
    comment = Job started on Tue May 29 at 09:37
    exit_status = 0

Job Id: 48[1].torque01.bcgsc.ca
    job_state = C
    depend = afterokarray:43[].torque01.bcgsc.ca
    Resource_List.walltime = 16:00:00
    Variable_List = PBS_ARRAYID=1,PBS_O_QUEUE=batch,PBS_O_HOME=/home/creisle,
        BASH_FUNC_module()=() {  eval `/usr/bin/modulecmd bash $*`\\n
}
    comment = Job 48[].torque01.bcgsc.ca deleted because its dependency of arr
        ay 43[].torque01.bcgsc.ca can never be satisfied
    exit_status = 271

end
"""


@pytest.fixture
def scheduler() -> PBSScheduler:
    return PBSScheduler(Site(python="python3", runner=""))


def parsed(scheduler: PBSScheduler, output: str) -> list[Report]:
    reports = scheduler.parse_status(output)
    assert reports is not None
    return list(reports)


def arguments(
    scheduler: PBSScheduler, block: Block | None = None, *after: Dependency, **options: Any
) -> list[list[str]]:
    """The arguments of qsub of OpenPBS and of Torque, and the dependencies."""
    request = Request(
        script="/r/script.sh",
        comment="KEY",
        log="/r/%a.log",
        block=block or Block(first=0, count=4),
        options=Options.parse(options),
        dependencies=after,
    )
    openpbs, torque, *depend = scheduler.submit_command(request)[6:]
    return [shlex.split(openpbs), shlex.split(torque), depend]


def test_json_of_openpbs(scheduler: PBSScheduler) -> None:
    (report,) = parsed(scheduler, JSON)
    assert (report.id, report.tasks, report.state, report.word) == ("0.725ccdf1a5fb", [3], JobState.COMPLETED, "F")
    assert (report.node, report.exit_code, report.signal, report.comment) == ("725ccdf1a5fb", 0, 0, "a/b c,d")
    assert parsed(scheduler, NO_SERVER) == []
    assert scheduler.parse_status(JSON.replace("}\n\nend", "")) is None
    assert scheduler.parse_status(JSON[:300] + "\nend\n") is None
    assert parsed(scheduler, NO_SERVER.removesuffix("\nend\n") + JSON) == [report], "qstat -x failed before"


def test_text_of_pbs_and_torque(scheduler: PBSScheduler) -> None:
    runs, waits = parsed(scheduler, TEXT)
    assert (runs.state, runs.node, runs.comment) == (JobState.RUNNING, "b141", "a/20261127T093012Z-1a2b3c4d")
    assert runs.reason.endswith("(b141:ncpus=16)+(b142:ncpus=16)+(b143:ncpus=16)+(b144:ncpus=16)")
    assert waits.state is JobState.PENDING
    ended, deleted = parsed(scheduler, TORQUE)
    assert (ended.id, ended.state, ended.exit_code) == ("9.torque01.bcgsc.ca", JobState.COMPLETED, 0)
    assert (deleted.id, deleted.tasks, deleted.state) == ("48[].torque01.bcgsc.ca", [1], JobState.CANCELLED)
    assert deleted.dependency_failed


NO_STATUS = {',\n            "Exit_status":0': ""}


@pytest.mark.parametrize(
    ("changes", "state", "code", "signal"),
    [
        ({'"Exit_status":0': '"Exit_status":1', ":92": ":93"}, JobState.FAILED, 1, 0),
        ({'"Exit_status":0': '"Exit_status":-29', ":92": ":93"}, JobState.TIMEOUT, -29, 0),
        ({'"Exit_status":0': '"Exit_status":-27', ":92": ":93"}, JobState.OUT_OF_MEMORY, -27, 0),
        ({'"Exit_status":0': '"Exit_status":271', ":92": ":91"}, JobState.CANCELLED, 143, 15),
        ({'"Exit_status":0': '"Exit_status":143', ":92": ":91"}, JobState.CANCELLED, 143, 0),
        ({'"Exit_status":0': '"Exit_status":265', ":92": ":93"}, JobState.FAILED, 137, 9),
        ({**NO_STATUS, ":92": ":91"}, JobState.CANCELLED, None, 0),
        ({"finished": "result of dependency", **NO_STATUS}, JobState.CANCELLED, None, 0),
        ({'"comment"': '"depend":"afterok:7.a@a",\n"comment"', **NO_STATUS}, JobState.CANCELLED, None, 0),
        ({'"F"': '"X"', **NO_STATUS}, JobState.COMPLETED, None, 0),
        ({'"F"': '"M"'}, JobState.UNKNOWN, None, 0),
        ({'"F"': '"Q"', "Job run": "Can Never Run"}, JobState.PENDING, None, 0),
    ],
)
def test_states_and_exit_statuses_of_openpbs(
    scheduler: PBSScheduler, changes: dict[str, str], state: JobState, code: int | None, signal: int
) -> None:
    text = JSON
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (report,) = parsed(scheduler, text)
    assert (report.state, report.exit_code, report.signal) == (state, code, signal)
    assert report.dependency_failed is ("finished" in changes or '"comment"' in changes)
    assert report.stuck is ("Job run" in changes)


@pytest.mark.parametrize(
    ("status", "used", "state"),
    [
        ("-11", "00:01:00", JobState.TIMEOUT),
        ("-10", "00:01:00", JobState.OUT_OF_MEMORY),
        ("271", "00:01:00", JobState.CANCELLED),
        ("143", "00:01:00", JobState.CANCELLED),
        ("271", "01:00:02", JobState.TIMEOUT),
        ("143", "01:00:02", JobState.TIMEOUT),
        ("137", "00:01:00", JobState.FAILED),
        ("2", "01:00:02", JobState.FAILED),
    ],
)
def test_exit_statuses_of_torque(scheduler: PBSScheduler, status: str, used: str, state: JobState) -> None:
    text = TORQUE.replace("exit_status = 0", f"exit_status = {status}")
    assert parsed(scheduler, text.replace("used.walltime = 00:01:00", f"used.walltime = {used}"))[0].state is state


@pytest.mark.parametrize(
    ("options", "openpbs", "torque"),
    [
        ({"time": "1-02:00"}, ("-l", "walltime=93600"), ("-l", "walltime=93600")),
        ({"time": "UNLIMITED"}, ("-N", "job"), ("-N", "job")),
        ({"mem": "2G"}, ("-l", "select=1:ncpus=1:mem=2048mb"), ("-l", "mem=2048mb")),
        ({"mem_per_cpu": "1G", "cpus_per_task": 2}, ("-l", "select=1:ncpus=2:mem=2048mb"), ("-l", "mem=2048mb")),
        ({"gpus": 2}, ("-l", "select=1:ncpus=1:ngpus=2"), ("-l", "nodes=1:ppn=1:gpus=2")),
        ({"cpus_per_task": 2, "ntasks": 3}, ("-l", "select=1:ncpus=6:mpiprocs=3"), ("-l", "nodes=1:ppn=6")),
        ({"max_concurrent": 3}, ("-W", "max_run_subjobs=3"), ("-t", "0-3%3")),
        ({"job_name": "1 ü/x"}, ("-N", "_1_x"), ("-N", "_1_x")),
        ({"sbatch": {"--l": "select=2"}}, ("-l", "select=2"), ("-l", "select=2")),
        ({"sbatch": {"--l": "place=excl"}}, ("-l", "select=1:ncpus=1"), ("-l", "place=excl")),
    ],
)
def test_options_are_arguments_of_both_kinds_of_qsub(
    scheduler: PBSScheduler, options: dict[str, Any], openpbs: tuple[str, str], torque: tuple[str, str]
) -> None:
    found = arguments(scheduler, **options)
    assert openpbs in itertools.pairwise(found[0])
    assert torque in itertools.pairwise(found[1])


def test_arrays_of_one_are_jobs_and_attempts_are_ranges(scheduler: PBSScheduler) -> None:
    openpbs, torque, _ = arguments(scheduler, Block(first=0, count=4, tasks=(1, 3)))
    assert ("-J", "1-3") in itertools.pairwise(openpbs)
    assert ("-t", "1-3") in itertools.pairwise(torque)
    openpbs, torque, _ = arguments(scheduler, Block(first=0, count=4, tasks=(2,)), max_concurrent=3)
    assert not {"-J", "-t", "-W"} & {*openpbs, *torque}
    assert "SLURMTASKS_FIRST=2,SLURMTASKS_TAG=KEY" in openpbs


def test_jobs_wait_for_whole_arrays(scheduler: PBSScheduler) -> None:
    after = (
        Dependency("afterok", ("7.pbs01", "8[].pbs01")),
        Dependency("afterok", ("9[2].pbs01",)),
        Dependency("aftercorr", ("5[].pbs01",)),
    )
    _, _, depend = arguments(scheduler, None, *after)
    assert depend == ["afterok:7.pbs01:8[].pbs01", "afterany:9[].pbs01:5[].pbs01"]


@pytest.mark.parametrize("options", [{"gpus": "a100:1"}, {"qos": "high"}, {"nodes": 2}, {"requeue": True}])
def test_options_without_a_counterpart_are_refused_with_what_to_do(
    scheduler: PBSScheduler, options: dict[str, Any]
) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))}=.* PBS .*(Remove|remove)"):
        arguments(scheduler, **options)


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ("qsub: illegal -J value\nusage: qsub [-a date_time]", Failure.REFUSED),
        ("qsub: Unknown queue MSG=cannot locate queue", Failure.REFUSED),
        ("qsub: Job violates queue and/or server resource limits", Failure.REFUSED),
        ("qsub: Array job exceeds server or queue size limit", Failure.REFUSED),
        ("qsub: Maximum number of jobs already in queue for user", Failure.FULL),
        ("Connection refused\nqsub: cannot connect to server 6cfab3a0b8ac (errno=15010)", Failure.LATER),
        ("No route to host\nqsub: cannot connect to server aqua (errno=15010)", Failure.LATER),
        ("qsub: End of File", Failure.UNKNOWN),
    ],
)
def test_messages_of_qsub(scheduler: PBSScheduler, message: str, failure: Failure) -> None:
    assert scheduler.parse_failure(message) is failure


@pytest.mark.parametrize(
    ("message", "unknown"),
    [
        ("qstat: Unknown Job Id 9999.pbs", True),
        ("qdel: Job has finished 1063.725ccdf1a5fb", True),
        ("qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE 1936", True),
        ("qdel: nonexistent job id: 23", True),
        ("qdel: Unknown Job Id 1.a\nqdel: Unauthorized Request 2.a", False),
    ],
)
def test_jobs_that_are_gone_are_no_error(scheduler: PBSScheduler, message: str, unknown: bool) -> None:
    assert scheduler.ids_unknown(message) is unknown


def test_a_site_without_a_history_is_asked_without_it(
    scheduler: PBSScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program = tmp_path / "qstat"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "--version) echo 'pbs_version = 22.05.11' ;;\n"
        "-x*) echo 'qstat: PBS is not configured to maintain job history' >&2; exit 140 ;;\n"
        "*) echo 'qstat: Unknown Job Id 9.a' >&2; exit 153 ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    done = subprocess.run(scheduler.status_command(["9.a"]), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (153, "qstat: Unknown Job Id 9.a\n")
    assert scheduler.ids_unknown(done.stderr)
    assert parsed(scheduler, done.stdout) == []
