"""Parse the output of squeue and sacct of three Slurm releases, and decide to which submission a job belongs."""

from __future__ import annotations

import pytest

from slurm.protocol.states import JobState
from slurm.schedulers.base import Report, Site
from slurm.schedulers.marks import belongs, has_tag
from slurm.schedulers.slurm import SlurmScheduler

SLURM = SlurmScheduler(Site("/usr/bin/python3", "/root/runner.zip"))
KEY, OTHER = "f/20261127T093012Z-1a2b3c4d", "f/20261127T093012Z-ffffffff"
PATH = f"/scratch/ann/jobs/{KEY}/script.sh"
CREATED = 1795776000.0

# Output of 20.11, 22.05 and 24.11 for `sbatch --array=0-4%2`, a held `--wrap`, and an array that depends on the first
# one; "|" stands for the separator. 24.11 leaves out the script's arguments.
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

# The same two arrays, some seconds later. 20.11 has no SubmitLine, and has the comment of finished jobs only.
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
def test_parse_status_returns_reports_with_marks(arguments: str) -> None:
    found = SLURM.parse_status(separated(QUEUE.replace(" 60|", f"{arguments}|"))) or []
    assert [(r.id, r.tasks, r.state, r.node, r.reason) for r in found] == [
        ("2", [2, 3, 4], JobState.PENDING, "", "JobArrayTaskLimit"),
        ("4", [0, 1], JobState.PENDING, "", "Dependency"),
        ("3", None, JobState.PENDING, "", "JobHeldUser"),
        ("2", [0], JobState.RUNNING, "n1", ""),
        ("2", [1], JobState.RUNNING, "n1", ""),
    ]
    assert [belongs(report, KEY, created=CREATED) for report in found] == [True, True, False, True, True]
    assert [belongs(report, OTHER, created=CREATED) for report in found] == [False] * 5


def test_parse_status_returns_no_reports_for_a_header_alone() -> None:
    assert SLURM.parse_status(separated(f"1000\n{HEADER}")) == []


@pytest.mark.parametrize("tasks", ["2-4%2", "[2-4%2]"])
def test_parse_status_skips_the_line_that_names_the_cluster(tasks: str) -> None:
    row = f"1|{tasks}|PENDING||1000|1795776130|Priority|{PATH}|{KEY}\n"
    found = SLURM.parse_status(separated(f"1000\nCLUSTER: other\n{HEADER}{row}")) or []
    assert [(report.id, report.tasks) for report in found] == [("1", [2, 3, 4])]


@pytest.mark.parametrize(
    ("id_", "words", "expected"),
    [  # as two clusters of a federation report a job, in any order
        ("67108865", ("PENDING", "RUNNING"), ["RUNNING"]),  # the origin hears of the start later
        ("67108865", ("CANCELLED", "REVOKED"), ["CANCELLED"]),
        ("67108865", ("PENDING", "REVOKED"), ["PENDING"]),
        ("67108865", ("REVOKED",), ["REVOKED"]),
        ("67108865", ("CANCELLED", "FAILED"), ["CANCELLED"]),  # cancelled while the other cluster launched it
        ("3", ("CANCELLED", "FAILED"), ["CANCELLED", "FAILED"]),
        ("3", ("PENDING", "RUNNING"), ["PENDING", "RUNNING"]),  # ids of clusters that are in no federation
    ],
)
def test_parse_status_reports_a_job_where_it_is(id_: str, words: tuple[str, ...], expected: list[str]) -> None:
    rows = [f"{id_}|N/A|{word}||1000|1795776130|None|{PATH}|{KEY}\n" for word in words]
    for order in (rows, rows[::-1]):
        found = SLURM.parse_status(separated(f"1000\n{HEADER}{''.join(order)}")) or []
        assert sorted(report.word for report in found) == expected
        assert not any(report.state.final for report in found if report.word == "REVOKED")


@pytest.mark.parametrize(
    "output",
    [
        "",
        "1000\n",
        "1000\nslurm_load_jobs error: Unable to contact slurm controller (connect failure)\n",
        f"1000\n{HEADER.rstrip()}",
        f"1000\n{HEADER}2|0|RUNNING|n1|1000|1795776130|None|{PATH}|{KEY}",  # truncated, even just before the line break
        f"1000\n{HEADER}2|0|RUNN",
        f"1000\n{HEADER}slurm_load_jobs error: Zero Bytes were transmitted or received\n",
        f"1000\n{HEADER}squeue: error: Invalid user: 1000\n",
        f"1000\n2|0|RUNNING|n1|1000|1795776130|None|{PATH}|{KEY}\n",
        "1000\nCLUSTER: other\n",
    ],
)
def test_parse_status_returns_none_for_incomplete_output(output: str) -> None:
    assert SLURM.parse_status(separated(output)) is None


def test_parse_status_ignores_report_lines_inside_comments() -> None:
    row = "9|0|RUNNING|n1|1001|1795776130|None|/home/bob/a\n2|0|FAILED|.sh|hello\n1|0|COMPLETED|\u20281|\n"
    found = (
        SLURM.parse_status("1000\n" + separated(HEADER) + row.replace("|", "\x1f", 7).replace(".sh|", ".sh\x1f")) or []
    )
    assert [(report.id, report.own) for report in found] == [("9", False)]


@pytest.mark.parametrize(
    ("output", "id_"), [(NEW_ACCOUNTING, "1"), (OLD_ACCOUNTING, "2")], ids=["22.05, 24.11", "20.11"]
)
def test_parse_accounting_returns_reports_with_marks(output: str, id_: str) -> None:
    found = [report for report in SLURM.parse_accounting(separated(output)) if report.id == id_]
    assert [(r.tasks, r.state, r.node, r.reason, r.exit_code, r.signal) for r in found] == [
        ([0], JobState.CANCELLED, "n1", "", 0, 0),
        ([1], JobState.RUNNING, "n1", "", 0, 0),
        ([3, 4], JobState.PENDING, "", "JobArrayTaskLimit", 0, 0),
    ]
    assert all(belongs(report, KEY, created=CREATED) for report in found)


def test_parse_accounting_sorts_jobs_of_one_id_by_submit_time() -> None:
    # Output of 22.05 for a requeued task, and for older jobs with the same id.
    output = f"""\
1000
JobID|State|ExitCode|NodeList|Reason|UID|Submit|Comment|SubmitLine
1_0|PENDING|0:0|None assigned|BeginTime|1000|1795776133||sbatch {PATH}
1_0|REQUEUED|0:0|n1|None|1000|1795776127||sbatch {PATH}
1_0|FAILED|1:0|n1|None|1001|1795776129||
1_0|COMPLETED|0:0|n1|None|1000|1789000000||
1_0|COMPLETED|0:0|n1|None|1000|1795776128||sbatch /home/ann/run.sh
"""
    found = [report for report in SLURM.parse_accounting(separated(output)) if belongs(report, KEY, created=CREATED)]
    assert [report.word for report in found] == ["REQUEUED", "PENDING"]


@pytest.mark.parametrize(
    ("comment", "script", "result"),
    [
        (KEY, PATH, True),
        (f"{KEY} for bob", "", True),
        (KEY, "/var/spool/wrapped", True),  # from a site's wrapper of sbatch
        ("approved", PATH, True),  # from a plugin of the site
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
def test_has_tag_decides_by_one_matching_mark(comment: str, script: str, result: bool | None) -> None:
    assert has_tag(KEY, comment=comment, script=script) is result


@pytest.mark.parametrize(
    ("own", "submitted", "belonging"),
    [
        (True, CREATED, True),
        (True, None, True),
        (True, CREATED - 3600, True),
        (True, CREATED - 1e6, False),
        (False, CREATED, False),
    ],
)
def test_report_without_marks_is_judged_by_user_and_submit_time(
    own: bool, submitted: float | None, belonging: bool
) -> None:
    report = Report("1", None, JobState.FAILED, "FAILED", "n1", "", own=own, submitted=submitted)
    assert belongs(report, KEY, created=CREATED) is belonging


def test_has_tag_distinguishes_blocks_of_one_submission() -> None:
    assert has_tag(f"{KEY}+1000", comment=f"{KEY}+1000", script=PATH)
    assert not has_tag(f"{KEY}+1000", comment=KEY, script=PATH)
    assert has_tag(f"{KEY}+1000", comment="", script=PATH)
