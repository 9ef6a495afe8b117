"""Slurm's commands about queued jobs: squeue, sacct and scancel, and parsers of their output.

A control character separates fields, because comments and paths may hold any other.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from slurm.protocol.shell import program
from slurm.protocol.states import JobState
from slurm.schedulers.base import Report, numbers, ranges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slurm.schedulers.base import Target

_BETWEEN = "\x1f"
_FIELDS = _BETWEEN.join(("%F", "%K", "%T", "%N", "%U", "%V", "%r", "%o", "%k"))
"""squeue(1): array job id, array task(s), state, nodes, user's number, submit time, reason, script, comment."""
_HEADER = f"ARRAY_JOB_ID{_BETWEEN}ARRAY_TASK_ID{_BETWEEN}"
_ROW = re.compile(rf"\d+(_(\d+|\[[\d,:%-]+\]))?{_BETWEEN}")
_ERROR = re.compile(r"^(squeue|slurm_load_jobs)\S*:? (error|fatal)", re.MULTILINE)

_DEPENDENCY_FAILED = ("DependencyNeverSatisfied", "Dependency")
"""squeue's and sacct's reasons for a job that is cancelled because a job that it waits for failed."""

_COLUMNS = "jobid,state,exitcode,nodelist,reason,uid,submit,comment"


def clean(*command: str) -> list[str]:
    """A Slurm command that behaves the same for every user, whatever variables they export for it."""
    return ["sh", "-c", program(__name__, "clean_run.sh"), "sh", *command]


def status_command(ids: Sequence[str], cluster: str) -> list[str]:
    """Squeue, for jobs in any state: it lists a finished job for MinJobAge."""
    which = f"--jobs={','.join(ids)}" if ids else "--me"
    return ["sh", "-c", program(__name__, "query.sh"), "sh", f"--format={_FIELDS}", *_where(cluster), which]


def parse_status(output: str) -> list[Report] | None:
    """Squeue's output; None unless it has its header, no error, and ends with a whole line."""
    me, _, said = output.partition("\n")
    if said.startswith("CLUSTER: "):
        said = said.partition("\n")[2]
    header, newline, rows = said.partition("\n")
    if not (header.startswith(_HEADER) and newline) or (rows and not rows.endswith("\n")) or _ERROR.search(rows):
        return None
    found = []
    for row in _rows(rows):
        id_, tasks, word, node, user, at, reason, script, comment = (row.split(_BETWEEN, 8) + [""] * 8)[:9]
        some = numbers(tasks) if tasks[:1].isdecimal() or tasks[:1] == "[" else None
        report = _report(id_, some, word, _told(node), _told(reason))
        found.append(_marked(report, comment, script, own=_own(user, me), at=at))
    return found


def accounting_command(ids: Sequence[str], cluster: str) -> list[str]:
    """Sacct, for all jobs that ever had these ids, with a line for each allocation.

    Not --json, because that of 22.05 reports success for failed jobs.
    """
    arguments = [_COLUMNS, f"--delimiter={_BETWEEN}", *_where(cluster), f"--jobs={','.join(ids)}"]
    return ["sh", "-c", program(__name__, "history.sh"), "sh", *arguments]


def parse_accounting(output: str) -> list[Report]:
    """Sacct's output, oldest first: "12_3", "CANCELLED by 0", "0:15", …; soon after an end, "12" may be all of it.

    The submit line of a job appears some seconds after its start, and never in 20.11.
    """
    me, _, said = output.partition("\n")
    header, _, rows = said.partition("\n")
    has_line = header.endswith("SubmitLine")
    found = []
    for row in _rows(rows):
        name, word, exit_, node, reason, user, at, comment, line = (row.split(_BETWEEN, 8) + [""] * 8)[:9]
        id_, _, tasks = name.partition("_")
        some = numbers(tasks) if tasks else None
        report = _report(id_, some, word, _told(node), _told(reason), exit_)
        found.append(_marked(report, comment, line if has_line else "", own=_own(user, me), at=at))
    return sorted(found, key=lambda report: report.submitted or 0.0)


def cancel_script(targets: Sequence[Target], cluster: str) -> str:
    """Shell lines that cancel quietly: a job that has ended meanwhile is no error."""
    ids = ",".join(dict.fromkeys(target.id for target in targets))
    lines = "\n".join(f"{id_} {key} {_name(id_, tasks)}" for id_, tasks, key in targets)
    return f"set -- {shlex.join([ids, lines, *_where(cluster)])}\n{program(__name__, 'cancel.sh')}"


def cancel_command(ids: Sequence[str], cluster: str) -> list[str]:
    """Scancel, quiet about jobs that have ended."""
    return ["scancel", "--quiet", *_where(cluster), *ids]


def _name(id_: str, tasks: Sequence[int] | None) -> str:
    return id_ if tasks is None else f"{id_}_[{ranges(tasks)}]"


def _where(cluster: str) -> list[str]:
    return [f"--clusters={cluster}"] if cluster else []


def _rows(text: str) -> Iterator[str]:
    """Rows: a line that begins with an id, and the lines up to the next such line; comments may have line breaks."""
    row: list[str] = []
    for line in text.removesuffix("\n").split("\n"):
        if _ROW.match(line):
            if row:
                yield "\n".join(row)
            row = [line]
        elif row:
            row.append(line)
    if row:
        yield "\n".join(row)


def _report(id_: str, tasks: Sequence[int] | None, word: str, node: str, reason: str, exit_: str = "") -> Report:
    """A report; `exit_` is sacct's "code:signal"."""
    code, _, number = exit_.partition(":")
    known = code.isdecimal() and number.isdecimal()
    return Report(
        id_,
        tasks,
        JobState.parse(word),
        word,
        node,
        reason,
        exit_code=int(code) if known else None,
        signal=int(number) if known else None,
        dependency_failed=reason in _DEPENDENCY_FAILED,
    )


def _marked(report: Report, comment: str, script: str, *, own: bool, at: str) -> Report:
    """A report with the marks of its submission."""
    submitted = float(at) if at.isdecimal() else None
    return report._replace(comment=_told(comment), script=script, own=own, submitted=submitted)


def _told(words: str) -> str:
    return "" if words in ("None", "None assigned", "(null)") else words


def _own(user: str, me: str) -> bool:
    return user == me or not (user.isdecimal() and me.isdecimal())
