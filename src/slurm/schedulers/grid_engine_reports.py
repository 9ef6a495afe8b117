"""Parse the XML of Grid Engine's qstat and the text of its qacct, and decide how a job ended."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import unquote

from slurm.protocol.states import JobState
from slurm.schedulers.base import Report

_STATES = {
    **dict.fromkeys(("qw", "hqw", "hRqw", "Rqw", "hRwq", "w"), JobState.PENDING),
    **dict.fromkeys(("r", "t", "hr", "ht", "Rr", "Rt", "hRr"), JobState.RUNNING),
    **dict.fromkeys(("s", "S", "T", "ts", "tS", "tT", "Rs", "RS", "RT", "N"), JobState.SUSPENDED),
}
_JOB = r"<job_list .*?</job_list>"
_RANGE = r"<RN_min>(\d+)</RN_min>\s*<RN_max>(\d+)</RN_max>\s*<RN_step>(\d+)</RN_step>"
_LIMIT, _SIGNAL = 37, 100
"""Codes in the field `failed` of qacct: the qmaster enforced a limit; the job ended by a signal."""
_KILLED = "it was killed: by qdel, or because it used too much memory"


def parse(output: str) -> list[Report]:
    """Parse the output of the status script."""
    comments = {}
    for detail in output.split("<JB_job_number>")[1:]:
        if tag := re.search(r"<VA_variable>SLURMTASKS_TAG</VA_variable>\s*<VA_value>(.*?)</VA_value>", detail):
            comments[detail.partition("<")[0]] = unquote(unescape(tag[1]))
    found = [_ended(record) for record in re.findall(r"^qname +.*?^category[^\n]*", output, re.DOTALL | re.MULTILINE)]
    for facts in _listed(output):
        if facts["state"] == "z":
            continue
        word, node = facts["state"], facts.get("queue_name", "").partition("@")[2]
        error = word.startswith("E")
        found.append(
            Report(
                facts["JB_job_number"],
                _tasks(facts.get("tasks", "1")),
                _state(word),
                word,
                node,
                f"state {word}: see qstat -j {facts['JB_job_number']}" if error else "",
                stuck=error,
            )
        )
    return [report._replace(comment=comments.get(report.id, "")) for report in found]


def _listed(output: str) -> list[dict[str, str]]:
    """Parse the jobs that qstat lists."""
    return [dict(re.findall(r"<(\w+)>(.*?)</\1>", job)) for job in re.findall(_JOB, output, re.DOTALL)]


def elements(output: str) -> set[tuple[str, int]]:
    """Return all elements of the jobs that the qmaster remembers."""
    found = {
        (facts["JB_job_number"], task)
        for facts in _listed(output)
        if facts["state"] == "z"
        for task in _tasks(facts.get("tasks", "1"))
    }
    for detail in output.split("<JB_job_number>")[1:]:
        for bounds in re.findall(_RANGE, detail):
            tasks = range(int(bounds[0]) - 1, int(bounds[1]), int(bounds[2]))
            found |= {(detail.partition("<")[0], task) for task in tasks}
    return found


def _ended(record: str) -> Report:
    """Parse a record of qacct."""
    facts = dict(re.findall(r"^(\w+) +(.*?) *$", record, re.MULTILINE))
    failed, code = int(facts["failed"].split()[0]), int(facts["exit_status"].split()[0])
    signal = code - 128 if failed in (_LIMIT, _SIGNAL) and code > 128 else 0
    state, reason = JobState.FAILED if code or failed else JobState.COMPLETED, facts["failed"].partition(" : ")[2]
    limit = re.search(r"h_rt=(\d+)", facts.get("category", ""))
    if failed == _LIMIT and limit and float(facts["ru_wallclock"].rstrip("s")) >= int(limit[1]):
        state = JobState.TIMEOUT
    elif failed == _SIGNAL and signal == 9:
        state, reason = JobState.CANCELLED, _KILLED
    task = int(facts["taskid"]) - 1 if facts["taskid"].isdecimal() else 0
    return Report(facts["jobnumber"], [task], state, facts["failed"], facts["hostname"], reason, code, signal)


def _state(word: str) -> JobState:
    if word.startswith("d"):
        return JobState.COMPLETING
    return JobState.PENDING if word.startswith("E") else _STATES.get(word, JobState.UNKNOWN)


def _tasks(text: str) -> list[int]:
    """Parse "3", "1-7:2" and lists of them."""
    found: list[int] = []
    for part in text.split(","):
        ends, _, step = part.partition(":")
        first, _, last = ends.partition("-")
        found += range(int(first) - 1, int(last or first), int(step or 1))
    return found
