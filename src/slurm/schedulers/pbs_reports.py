"""Parse `qstat -f` of OpenPBS, PBS Professional and Torque, as JSON or text, and decide how a job ended."""

from __future__ import annotations

import json
import re
from signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from slurm.options.values import seconds
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_STATES = {
    **dict.fromkeys("QHWT", JobState.PENDING),
    **dict.fromkeys("SU", JobState.SUSPENDED),
    "R": JobState.RUNNING,
    "E": JobState.COMPLETING,
}
_ENDED = ("F", "X", "C")
"""A job of OpenPBS, an element of its arrays, a job of Torque."""
_CODES = {-29: JobState.TIMEOUT, -27: JobState.OUT_OF_MEMORY, -26: JobState.OUT_OF_MEMORY}
_TORQUE_CODES = {-11: JobState.TIMEOUT, -10: JobState.OUT_OF_MEMORY}
"""Exit statuses of jobs that were ended, from the tables in PBS Professional's Reference Guide and Torque's manual."""
_DELETED_SUBSTATE = "91"
_ENDING_SIGNALS = (SIGKILL, SIGTERM)
_NEVER = ("result of dependency", "can never be satisfied")


def parse(output: str) -> list[Report] | None:
    """Return the reports of jobs and of elements of arrays; None for incomplete JSON."""
    try:
        found = dict(_jobs(output))
    except ValueError:
        return None
    return [_report(id_, facts) for id_, facts in found.items() if "[]" not in id_]


def _jobs(output: str) -> Iterable[tuple[str, Mapping[str, str]]]:
    """Parse the jobs of qstat -f. Names of nested facts are joined by a point, as in the text form."""
    if "\n{" in f"\n{output}":
        answer = json.loads(output[f"\n{output}".rindex("\n{") :], strict=False)
        yield from ((id_, dict(_flat(facts))) for id_, facts in answer.get("Jobs", {}).items())
    for part in re.split(r"^Job Id: *", output, flags=re.MULTILINE)[1:]:
        id_, _, text = re.sub("\n(?:\t| {8})", "", part).partition("\n")
        facts = dict(re.findall(r"^    (\S+) = (.*)$", text, flags=re.MULTILINE))
        variables = (each.partition("=") for each in facts.get("Variable_List", "").split(","))
        yield id_.strip(), facts | {f"Variable_List.{name}": value for name, _, value in variables}


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _report(id_: str, facts: Mapping[str, str]) -> Report:
    task = re.search(r"\[(\d+)\]", id_)
    number = int(task[1] if task else facts.get("Variable_List.SLURMTASKS_FIRST", 0))
    word, reason = facts.get("job_state", ""), facts.get("comment", "")
    state, code = _STATES.get(word, JobState.UNKNOWN), facts.get("Exit_status", facts.get("exit_status"))
    if word in _ENDED:
        state = _ended(word, None if code is None else int(code), facts)
    status = int(code) if word in _ENDED and code is not None else None
    return Report(
        re.sub(r"\[\d+\]", "[]", id_),
        [number],
        state,
        word,
        facts.get("exec_host", "").partition("/")[0],
        reason,
        status if status is None or status < 256 else status - 128,
        max(0, (status or 0) - 256),
        dependency_failed=state is JobState.CANCELLED and _never_ran(facts, reason),
        comment=unquote(facts.get("Variable_List.SLURMTASKS_TAG", "")),
        stuck=reason.lower().startswith("can never run"),
    )


def _never_ran(facts: Mapping[str, str], reason: str) -> bool:
    """Whether the server deleted a job because of a dependency. PBS itself reports this only in its log."""
    deleted = "depend" in facts and facts.get("substate") != _DELETED_SUBSTATE and "Exit_status" not in facts
    return any(each in reason for each in _NEVER) or (deleted and facts.get("job_state") != "C")


def _ended(word: str, code: int | None, facts: Mapping[str, str]) -> JobState:
    """Return how a job ended. Elements of arrays have an exit status only if the site keeps a history of jobs."""
    if facts.get("substate") == _DELETED_SUBSTATE or (code is None and word != "X"):
        return JobState.CANCELLED
    if not code:
        return JobState.COMPLETED
    torque = word == "C"
    codes = _TORQUE_CODES if torque else _CODES
    # The code is 256 plus the signal if a signal ended the shell, and 128 plus the signal if the signal's trap ended
    # the script.
    ended_by = code - 256 if code > 256 else code - 128
    used, limit = (seconds(facts.get(f"{name}.walltime") or "0") for name in ("resources_used", "Resource_List"))
    if code in codes:
        return codes[code]
    if (code < 0 or ended_by in _ENDING_SIGNALS) and limit and (used or 0) >= limit:
        return JobState.TIMEOUT
    return JobState.CANCELLED if ended_by == SIGTERM and (torque or code > 256) else JobState.FAILED
