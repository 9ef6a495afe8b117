"""What squeue and sacct of three Slurm releases print, and whose jobs that is about."""

from __future__ import annotations

import pytest

from slurm.protocol.states import JobState
from slurm.schedulers.base import Report
from slurm.schedulers.marks import belongs, whose
from slurm.schedulers.slurm_jobs import parse_accounting, parse_status

KEY, OTHER = "f/20261127T093012Z-1a2b3c4d", "f/20261127T093012Z-ffffffff"
PATH = f"/scratch/ann/jobs/{KEY}/script.sh"
CREATED = 1795776000.0

# As printed by 20.11, 22.05 and 24.11 for `sbatch --array=0-4%2`, a held `--wrap`, and an array that waits for the
# first; "|" stands for the separator. 24.11 leaves out the script's arguments.
HEADER = "ARRAY_JOB_ID|ARRAY_TASK_ID|STATE|NODELIST|UID|SUBMIT_TIME|REASON|COMMAND|COMMENT\n"
QUEUE = f"""\
1000
{HEADER}\
2|2-4%2|PENDING||1000|1795776130|JobArrayTaskLimit|{PATH} 60|{KEY} for ann
4|0-1|PENDING||1000|1795776130|Dependency|{PATH} 60|{KEY}
3|N/A|PENDING||1000|1795776130|JobHeldUser|(null)|(null)
2|0|RUNNING|n1|1000|1795776130|None|{PATH} 60|{KEY} for ann
2|1|RUNNING|n1|1000|1795776130|None|{PATH} 60|{KEY} for ann
"""

# The same two arrays, some seconds later. 20.11 has no SubmitLine; its comment is told once a job has ended.
NEW_ACCOUNTING = f"""\
1000
JobID|State|ExitCode|NodeList|Reason|UID|Submit|Comment|SubmitLine
2|PENDING|0:0|None assigned|JobHeldUser|1000|1795776142||sbatch --parsable --wrap sleep 30 --hold
1_0|CANCELLED by 1000|0:0|n1|None|1000|1795776142||sbatch --parsable --array=0-4%2 {PATH} 60
1_1|RUNNING|0:0|n1|None|1000|1795776142||sbatch --parsable --array=0-4%2 {PATH} 60
1_[3-4%2]|PENDING|0:0|None assigned|JobArrayTaskLimit|1000|1795776142||sbatch --parsable --array=0-4%2 {PATH} 60
"""
OLD_ACCOUNTING = f"""\
1000
JobID|State|ExitCode|NodeList|Reason|UID|Submit|Comment|Comment
3|PENDING|0:0|None assigned|JobHeldUser|1000|1795776130||
2_0|CANCELLED by 1000|0:0|n1|None|1000|1795776130|{KEY} for ann|{KEY} for ann
2_1|RUNNING|0:0|n1|None|1000|1795776130||
2_[3-4%2]|PENDING|0:0|None assigned|JobArrayTaskLimit|1000|1795776130||
"""


def separated(text: str) -> str:
    return text.replace("|", "\x1f")


@pytest.mark.parametrize("arguments", [" 60", ""], ids=["20.11 and 22.05", "24.11"])
def test_lines_of_squeue_are_reports_with_the_marks_of_jobs(arguments: str) -> None:
    found = parse_status(separated(QUEUE.replace(" 60|", f"{arguments}|"))) or []
    assert [(r.id, r.tasks, r.state, r.node, r.reason) for r in found] == [
        ("2", [2, 3, 4], JobState.PENDING, "", "JobArrayTaskLimit"),
        ("4", [0, 1], JobState.PENDING, "", "Dependency"),
        ("3", None, JobState.PENDING, "", "JobHeldUser"),
        ("2", [0], JobState.RUNNING, "n1", ""),
        ("2", [1], JobState.RUNNING, "n1", ""),
    ]
    assert [belongs(report, KEY, created=CREATED) for report in found] == [True, True, False, True, True]
    assert [belongs(report, OTHER, created=CREATED) for report in found] == [False] * 5


def test_the_header_alone_says_that_slurm_has_forgotten_them() -> None:
    assert parse_status(separated(f"1000\n{HEADER}")) == []


@pytest.mark.parametrize("tasks", ["2-4%2", "[2-4%2]"])
def test_another_cluster_has_its_name_first(tasks: str) -> None:
    row = f"1|{tasks}|PENDING||1000|1795776130|Priority|{PATH}|{KEY}\n"
    found = parse_status(separated(f"1000\nCLUSTER: other\n{HEADER}{row}")) or []
    assert [(report.id, report.tasks) for report in found] == [("1", [2, 3, 4])]


@pytest.mark.parametrize(
    "said",
    [
        "",
        "1000\n",
        "1000\nslurm_load_jobs error: Unable to contact slurm controller (connect failure)\n",
        f"1000\n{HEADER.rstrip()}",
        f"1000\n{HEADER}2|0|RUNNING|n1|1000|1795776130|None|{PATH}|{KEY}",  # cut at any place, also at this one
        f"1000\n{HEADER}2|0|RUNN",
        f"1000\n{HEADER}slurm_load_jobs error: Zero Bytes were transmitted or received\n",
        f"1000\n{HEADER}squeue: error: Invalid user: 1000\n",
        f"1000\n2|0|RUNNING|n1|1000|1795776130|None|{PATH}|{KEY}\n",
        "1000\nCLUSTER: other\n",
    ],
)
def test_what_is_not_whole_is_no_answer(said: str) -> None:
    assert parse_status(separated(said)) is None


def test_texts_of_users_make_no_reports() -> None:
    row = "9|0|RUNNING|n1|1001|1795776130|None|/home/bob/a\n2|0|FAILED|.sh|hello\n1|0|COMPLETED|\u20281|\n"
    found = parse_status("1000\n" + separated(HEADER) + row.replace("|", "\x1f", 7).replace(".sh|", ".sh\x1f")) or []
    assert [(report.id, report.own) for report in found] == [("9", False)]


@pytest.mark.parametrize(("said", "id_"), [(NEW_ACCOUNTING, "1"), (OLD_ACCOUNTING, "2")], ids=["22.05, 24.11", "20.11"])
def test_lines_of_sacct_are_reports_with_the_marks_of_jobs(said: str, id_: str) -> None:
    found = [report for report in parse_accounting(separated(said)) if report.id == id_]
    assert [(r.tasks, r.state, r.node, r.reason, r.exit_code, r.signal) for r in found] == [
        ([0], JobState.CANCELLED, "n1", "", 0, 0),
        ([1], JobState.RUNNING, "n1", "", 0, 0),
        ([3, 4], JobState.PENDING, "", "JobArrayTaskLimit", 0, 0),
    ]
    assert all(belongs(report, KEY, created=CREATED) for report in found)


def test_several_jobs_of_one_id_come_in_the_order_of_their_submission() -> None:
    # What 22.05 prints of a requeued task, and of older jobs that had its number.
    said = f"""\
1000
JobID|State|ExitCode|NodeList|Reason|UID|Submit|Comment|SubmitLine
1_0|PENDING|0:0|None assigned|BeginTime|1000|1795776133||sbatch {PATH}
1_0|REQUEUED|0:0|n1|None|1000|1795776127||sbatch {PATH}
1_0|FAILED|1:0|n1|None|1001|1795776129||
1_0|COMPLETED|0:0|n1|None|1000|1789000000||
1_0|COMPLETED|0:0|n1|None|1000|1795776128||sbatch /home/ann/run.sh
"""
    found = [report for report in parse_accounting(separated(said)) if belongs(report, KEY, created=CREATED)]
    assert [report.word for report in found] == ["REQUEUED", "PENDING"]


@pytest.mark.parametrize(
    ("comment", "script", "mine"),
    [
        (KEY, PATH, True),
        (f"{KEY} for bob", "", True),
        (KEY, "/var/spool/wrapped", True),  # a site's wrapper of sbatch
        ("approved", PATH, True),  # a plugin of the site's
        ("", PATH, True),
        (OTHER, PATH, True),
        ("", f"sbatch --array=0-0 {PATH} 0", True),
        ("", "", None),
        ("approved", "", None),
        (OTHER, "", False),
        (f"{OTHER}+1000", "", False),
        (f"{KEY}+1000", PATH, False),  # another block of the same submission
        (f"{KEY}~0.1-12345678", PATH, False),
        ("", PATH.replace(KEY, OTHER), False),
        ("", "/home/ann/run.sh", False),
        ("", "(null)", False),  # squeue, of `sbatch --wrap`
        (f"{KEY}0", "", None),
    ],
)
def test_one_mark_tells_whose_job_it_is(comment: str, script: str, mine: bool | None) -> None:
    assert whose(KEY, comment=comment, script=script) is mine


@pytest.mark.parametrize(
    ("own", "submitted", "believed"),
    [
        (True, CREATED, True),
        (True, None, True),
        (True, CREATED - 3600, True),
        (True, CREATED - 1e6, False),
        (False, CREATED, False),
    ],
)
def test_without_a_mark_user_and_time_tell(own: bool, submitted: float | None, believed: bool) -> None:
    report = Report("1", None, JobState.FAILED, "FAILED", "n1", "", own=own, submitted=submitted)
    assert belongs(report, KEY, created=CREATED) is believed


def test_a_later_block_is_known_by_its_own_tag() -> None:
    assert whose(f"{KEY}+1000", comment=f"{KEY}+1000", script=PATH)
    assert not whose(f"{KEY}+1000", comment=KEY, script=PATH)
    assert whose(f"{KEY}+1000", comment="", script=PATH)
