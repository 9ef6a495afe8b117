"""Grid Engine: what an option becomes, what is refused, how elements ended. tests/grid_engine has the real one."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from slurm.errors import OptionError
from slurm.options import Options
from slurm.protocol import Block
from slurm.protocol.states import JobState
from slurm.schedulers.base import Dependency, Failure, Report, Request, Site
from slurm.schedulers.grid_engine import GridEngineScheduler
from slurm.url import ClusterURL

BLOCK = Block(first=0, count=4)
# Son of Grid Engine 8.1.9; left out: lines that are not read.
QACCT = """\
==============================================================
qname        all.q
hostname     vm
jobnumber    7
taskid       {taskid}
failed       {failed}
exit_status  {status}
ru_wallclock 3s
category     {category}
"""


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> GridEngineScheduler:
    monkeypatch.setattr(GridEngineScheduler, "flush", 0.0)
    return GridEngineScheduler(Site(python="python3", runner=""))


def command(scheduler: GridEngineScheduler, block: Block = BLOCK, *after: Dependency, **options: Any) -> list[str]:
    request = Request(
        script="/r/script.sh",
        comment="KEY",
        log="/r/%a.log",
        block=block,
        options=Options.parse(options),
        dependencies=after,
    )
    return list(scheduler.submit_command(request))


def pairs(words: list[str]) -> list[tuple[str, str]]:
    return list(itertools.pairwise(words))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"time": "1-02:00"}, ("-l", "h_rt=93600")),
        ({"mem": "2G"}, ("-l", "mem_free=2048M")),
        ({"mem": "2G", "cpus_per_task": 2}, ("-l", "mem_free=1024M")),
        ({"cpus_per_task": 2, "ntasks": 3}, ("-pe", "smp")),
        ({"partition": "long"}, ("-q", "long")),
        ({"account": "physics"}, ("-P", "physics")),
        ({"max_concurrent": 3}, ("-tc", "3")),
        ({"job_name": "1 ü/x"}, ("-N", "_1_x")),
        ({"time": 10, "signal": "B:USR1@60"}, ("-l", "s_rt=540")),
        ({"comment": "a,b=c"}, ("-ac", "SLURMTASKS_TAG=KEY a%2Cb=c")),
    ],
)
def test_options_are_arguments_of_qsub(
    scheduler: GridEngineScheduler, options: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert expected in pairs(command(scheduler, **options))


@pytest.mark.parametrize("options", [{"gres": "gpu:1"}, {"constraint": "a100"}, {"nodes": 2}, {"qos": "high"}])
def test_options_without_a_counterpart_are_refused_with_what_to_do(
    scheduler: GridEngineScheduler, options: dict[str, Any]
) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))}=.*Grid Engine.*(Remove|remove)"):
        command(scheduler, **options)


def test_a_later_attempt_asks_for_the_range_of_its_elements_only(scheduler: GridEngineScheduler) -> None:
    assert ("-t", "2-4") in pairs(command(scheduler, Block(first=0, count=4, tasks=(1, 3))))


def test_aftercorr_waits_for_elements_if_the_arrays_can_be_alike(scheduler: GridEngineScheduler) -> None:
    pair = Dependency("aftercorr", ("12",))
    assert ("-hold_jid_ad", "12") in pairs(command(scheduler, BLOCK, pair))
    assert ("-hold_jid", "12") in pairs(command(scheduler, Block(first=0, count=4, tasks=(1, 3)), pair))
    assert ("-hold_jid", "12,13") in pairs(command(scheduler, BLOCK, Dependency("afterok", ("12.1", "12.2", "13"))))


@pytest.mark.parametrize(
    ("failed", "status", "state", "signal"),
    [
        ("37 : qmaster enforced h_rt, h_cpu, or h_vmem limit", "137                  (Killed)", JobState.TIMEOUT, 9),
        ("0", "0", JobState.COMPLETED, 0),
        ("0", "3", JobState.FAILED, 0),
        ("0", "255                  (Unknown signal 127)", JobState.FAILED, 0),
        ("100 : assumedly after job", "137                  (Killed)", JobState.CANCELLED, 9),
        ("100 : assumedly after job", "139                  (Segmentation fault)", JobState.FAILED, 11),
    ],
)
def test_accounting_tells_how_an_element_ended(
    scheduler: GridEngineScheduler, failed: str, status: str, state: JobState, signal: int
) -> None:
    output = QACCT.format(taskid="2", failed=failed, status=status, category="-l h_rt=2") + "\nend\n"
    (report,) = scheduler.parse_status(output) or ()
    assert (report.id, report.tasks, report.state, report.signal) == ("7", [1], state, signal)


def test_an_element_that_left_no_record_was_deleted_before_it_ran(scheduler: GridEngineScheduler) -> None:
    facts = "<JB_job_number>7</JB_job_number>\n<state>z</state>\n<tasks>1-2:1</tasks>"
    queue = f'<job_list state="zombie">\n{facts}\n</job_list>\n'
    record = QACCT.format(taskid="1", failed="0", status="0", category="NONE")
    found = {
        task: report
        for report in scheduler.parse_status(f"{queue}{record}\nend\n") or ()
        for task in report.tasks or ()
    }
    assert {task: report.state for task, report in found.items()} == {0: JobState.COMPLETED, 1: JobState.CANCELLED}
    assert isinstance(found[1], Report)
    assert "deleted" in found[1].reason


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ('Unable to run job: Job was rejected because job requests unknown queue "nope"', Failure.REFUSED),
        (
            "Unable to run job: job rejected: only 2000 jobs are allowed per user (current job count: 2000)",
            Failure.FULL,
        ),
        ('Unable to run job: unable to contact qmaster using port 6444 on host "a"', Failure.LATER),
        ("Unable to run job: the end", Failure.UNKNOWN),
    ],
)
def test_messages_of_qsub(scheduler: GridEngineScheduler, message: str, failure: Failure) -> None:
    assert scheduler.parse_failure(message) is failure


def test_an_answer_that_was_cut_off_is_no_answer(scheduler: GridEngineScheduler) -> None:
    assert scheduler.parse_status("<?xml version='1.0'?>\n<job_info>\n") is None


def test_auto_tells_grid_engine_from_pbs_by_their_programs(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = []
    for name in ("qsub", "qselect", "qconf", "sbatch"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        found.append(ClusterURL.parse("auto").scheduler)
    assert found == ["local", "pbs", "sge", "slurm"]
