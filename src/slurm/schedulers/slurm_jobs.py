"""SlurmJobs: Slurm's commands about jobs in the queue and in the accounting, and parsers of their output.

A control character separates fields, because comments and paths may contain any other character.
"""

from __future__ import annotations

import re
import shlex
import time
from typing import TYPE_CHECKING

from slurm.protocol import JOBS, SCRIPT, Block
from slurm.protocol.shell import program
from slurm.protocol.states import JobState
from slurm.schedulers import federation
from slurm.schedulers.base import Report, Scheduler, numbers, ranges
from slurm.schedulers.marks import tag
from slurm.schedulers.slurm_reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.schedulers.base import Target

_SEPARATOR = "\x1f"
_FIELDS = _SEPARATOR.join(("%F", "%K", "%T", "%N", "%U", "%V %S", "%r", "%o", "%k"))
"""squeue(1): array job id, array task(s), state, nodes, user id, submission, start, reason, script, comment.

For a waiting job, the start is the expected start, if Slurm knows one.
"""
_HEADER = f"ARRAY_JOB_ID{_SEPARATOR}ARRAY_TASK_ID{_SEPARATOR}"
_ROW = re.compile(rf"^(?=\d+(?:_(?:\d+|\[[\d,:%-]+\]))?{_SEPARATOR})", re.MULTILINE)
"""The beginning of a line that begins with an id."""
_ERROR = re.compile(r"^(squeue|slurm_load_jobs)\S*:? (error|fatal)", re.MULTILINE)

_IN_LINE = ("Priority", "Resources", "None", "SchedDefer")
"""The reasons of jobs that wait only for resources: jobs with other reasons do not delay the jobs behind them."""
_LINE_FIELDS, _MOST_NAMED = 4, 3

_DEPENDENCY_FAILED = ("DependencyNeverSatisfied", "Dependency")
"""The reasons in squeue and sacct for a job that is cancelled because a job that it waits for failed."""

_COLUMNS = "jobid,state,exitcode,nodelist,reason,uid,submit,comment"

_COMMAND = re.compile(rf".*/{JOBS}/(?P<key>[^/]+/[^/]+)/{re.escape(SCRIPT)} (?P<first>\d+)")
"""The command of a submission's own block. A script without arguments was queued by a person."""

_HOLD = "uhold"
"""The hold of a user. Only an administrator can release a `hold` that an administrator has set."""


class SlurmJobs(Scheduler):
    """The commands that query, find, cancel and requeue jobs."""

    def status_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Run squeue for jobs in any state: squeue lists a finished job until MinJobAge has passed."""
        which, where = f"--jobs={','.join(ids)}" if ids else "--me", federation.options(ids, cluster, "--sibling")
        return [
            "sh",
            "-c",
            program(__name__, "query.sh"),
            "sh",
            f"--format={_FIELDS}",
            *_option(cluster),
            *where,
            which,
        ]

    def parse_status(self, output: str) -> Iterable[Report] | None:
        """Parse squeue's output; None unless it has its header, no error, and ends with a complete line."""
        me, _, listing = output.partition("\n")
        if listing.startswith("CLUSTER: "):
            listing = listing.partition("\n")[2]
        header, newline, rows = listing.partition("\n")
        if not (header.startswith(_HEADER) and newline) or (rows and not rows.endswith("\n")) or _ERROR.search(rows):
            return None
        found = []
        for row in _rows(rows):
            id_, tasks, word, node, user, at, reason, script, comment = (row.split(_SEPARATOR, 8) + [""] * 8)[:9]
            some = numbers(tasks) if tasks[:1].isdecimal() or tasks[:1] == "[" else None
            at, _, start = at.partition(" ")
            report = _expected(_report(id_, some, word, node, reason), start)
            found.append(_with_marks(report, comment, script, user=user, me=me, at=at))
        return federation.current(found)

    def ids_unknown(self, message: str) -> bool:
        """Recognize squeue's message for a query about one id only."""
        return "Invalid job id specified" in message

    def accounting_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Run sacct for all jobs that ever had these ids, with a line for each allocation.

        It does not use --json, because the JSON of 22.05 reports success for failed jobs.
        """
        where = [*_option(cluster), *federation.options(ids, cluster)]
        arguments = [_COLUMNS, f"--delimiter={_SEPARATOR}", *where, f"--jobs={','.join(ids)}"]
        return ["sh", "-c", program(__name__, "history.sh"), "sh", *arguments]

    def parse_accounting(self, output: str) -> Iterable[Report]:
        """Parse sacct's output: "12_3", "CANCELLED by 0", "0:15", …; soon after an end, a line may be just "12".

        The submit line of a job appears some seconds after its start, and never in 20.11.
        """
        me, _, listing = output.partition("\n")
        header, _, rows = listing.partition("\n")
        has_line = header.endswith("SubmitLine")
        found = []
        for row in _rows(rows):
            name, word, exit_, node, reason, user, at, comment, line = (row.split(_SEPARATOR, 8) + [""] * 8)[:9]
            id_, _, tasks = name.partition("_")
            report = _report(id_, numbers(tasks) if tasks else None, word, node, reason, exit_)
            found.append(_with_marks(report, comment, line if has_line else "", user=user, me=me, at=at))
        return sorted(federation.where_they_are(found), key=lambda report: report.submitted or 0.0)

    def accounting_missing(self, message: str) -> bool:
        """Recognize sacct's message if AccountingStorageType is none, and the shell's if sacct is not installed."""
        return "accounting storage is disabled" in message or "not found" in message

    def queued_command(self) -> Sequence[str]:
        """Run squeue with a line for each element."""
        return _clean("squeue", "--noheader", "--me", "--array", "--format=%i")

    def line_command(self, *, cluster: str = "") -> Sequence[str]:
        """Run squeue for all jobs that wait, highest priority first."""
        return _clean("squeue", *_option(cluster), "--states=PENDING", "--sort=-p,i", "--format=line|%F|%P|%u|%r")

    def parse_line(self, output: str, id_: str) -> str:
        """Count the jobs ahead of this job that wait for the same partition, and only for resources."""
        rows = [line.split("|", 4)[1:] for line in output.splitlines() if line.startswith("line|")]
        line = [row for row in rows if len(row) == _LINE_FIELDS and row[3] in _IN_LINE]
        own = next((at for at, row in enumerate(line) if row[0] == self.split_id(id_)[0]), None)
        if own is None:
            return ""
        wanted = set(line[own][1].split(","))
        before = {row[0]: row[2] for row in line[:own] if wanted & set(row[1].split(","))}
        place = f"{ordinal(len(before) + 1)} in line for {line[own][1]}"
        named = [f"{id_} of {user}" for id_, user in before.items()]
        more = f" and {len(named) - _MOST_NAMED} others" if len(named) > _MOST_NAMED else ""
        return f"{place}, behind {', '.join(named[:_MOST_NAMED])}{more}" if before else place

    def find_command(self, clusters: str) -> Sequence[str]:
        """Run squeue for the user's jobs in any state, with their comments and commands.

        The header distinguishes an empty answer from a missing one.
        """
        return ["sh", "-c", program(__name__, "find.sh"), "sh", clusters]

    def parse_find(self, output: str) -> Iterable[tuple[str, str]] | None:
        """Parse squeue's output: a line for each part of an array. A plugin of the site may change comments."""
        if not output.endswith("\n") or "|" not in output:  # truncated, or without a header
            return None
        cluster, marks = "", []
        for line in output.splitlines():
            if line.startswith("CLUSTER: "):
                cluster = ";" + line.partition(" ")[2].strip()
            number, _, rest = line.strip().partition("|")
            if not number.isdecimal():
                continue
            comment, bar, path = rest.rpartition("|/")
            comment = comment if bar else rest.removesuffix("|(null)").removesuffix("|")
            marks.append((number + cluster, comment))
            job = _COMMAND.fullmatch(f"/{path}")
            if job and not comment.startswith(job["key"]):
                marks.append((number + cluster, tag(job["key"], Block(first=int(job["first"]), count=1))))
        return dict.fromkeys(marks)

    def cancel_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Run scancel, which ignores finished jobs."""
        return ["scancel", "--quiet", *_option(cluster), *ids]

    def cancel_script(self, targets: Sequence[Target], *, cluster: str = "") -> str:
        """Run squeue, then scancel for the jobs that belong to the submissions. Finished jobs are not an error."""
        return _change("cancel", targets, cluster)

    def inside_command(self, id_: str, argv: Sequence[str], *, terminal: bool, cluster: str = "") -> Sequence[str]:
        """Run srun on the first node, beside the other steps of the job: --overlap, since 20.11."""
        script = program(__name__, "inside.sh")
        return ["sh", "-c", script, "sh", id_, cluster, "--pty" if terminal else "", *argv]

    def hold_command(self, ids: Sequence[str], *, release: bool = False, cluster: str = "") -> Sequence[str]:
        """Run scontrol. (`scancel --state=PENDING 7_[1-2]` of 22.05 cancels every pending element of job 7.)"""
        return _clean("scontrol", *_option(cluster), "release" if release else _HOLD, ",".join(ids))

    def hold_script(self, targets: Sequence[Target], *, release: bool = False, cluster: str = "") -> str:
        """Run squeue, then scontrol for the jobs that belong to the submissions. Finished elements are not an error."""
        return _change("release" if release else _HOLD, targets, cluster)

    def requeue_command(self, id_: str) -> Sequence[str]:
        """Run scontrol, which some sites do not install on their nodes or forbid there."""
        return _clean("scontrol", "requeue", id_)


def _clean(*command: str) -> list[str]:
    """A Slurm command that ignores the variables that the user exports for it."""
    return ["sh", "-c", program(__name__, "clean_run.sh"), "sh", *command]


def _change(verb: str, targets: Sequence[Target], cluster: str) -> str:
    """A script that cancels, holds or releases the jobs that belong to the submissions."""
    ids = ",".join(dict.fromkeys(target.id for target in targets))
    lines = [f"{id_} {key} {id_}{'' if tasks is None else f'_[{ranges(tasks)}]'}" for id_, tasks, key in targets]
    where = " ".join(federation.options(ids.split(","), cluster, "--sibling"))
    arguments = [verb, ids, "\n".join(lines), where, *_option(cluster)]
    return f"set -- {shlex.join(arguments)}\n{program(__name__, 'change.sh')}"


def _option(cluster: str) -> list[str]:
    return [f"--clusters={cluster}"] if cluster else []


def _rows(text: str) -> list[str]:
    """Split rows: a row is a line that begins with an id, and the lines up to the next such line.

    A row has several lines if its comment has. Anything before the first row is dropped.
    """
    return [row.removesuffix("\n") for row in _ROW.split(text) if _ROW.match(row)]


def _report(id_: str, tasks: Sequence[int] | None, word: str, node: str, reason: str, exit_: str = "") -> Report:
    """A report without marks; `exit_` is sacct's "code:signal"."""
    code, _, number = exit_.partition(":")
    known = code.isdecimal() and number.isdecimal()
    state = JobState.parse(word)
    why = reason_of(reason) if state is JobState.PENDING else None
    return Report(
        id_,
        tasks,
        state,
        word,
        _text(node),
        _text(reason),
        exit_code=int(code) if known else None,
        signal=int(number) if known else None,
        dependency_failed=reason in _DEPENDENCY_FAILED,
        explanation=why.words if why else "",
        stuck=why is not None and why.stuck,
    )


def _expected(report: Report, start: str) -> Report:
    """A report of a waiting job, with the time at which Slurm expects it to start, if Slurm knows this time."""
    now = time.time()
    if report.state is not JobState.PENDING or report.stuck or not start.isdecimal() or int(start) <= now:
        return report
    near = time.strftime("%Y%j", time.localtime(int(start))) == time.strftime("%Y%j", time.localtime(now))
    when = time.strftime("%H:%M" if near else "%Y-%m-%d %H:%M", time.localtime(int(start)))
    words = ", ".join(filter(None, (report.explanation, f"expected to start at {when}")))
    return report._replace(explanation=words)


def _with_marks(report: Report, comment: str, script: str, *, user: str, me: str, at: str) -> Report:
    """A report with the marks of its submission. A job is another user's only if both user ids are known."""
    own = user == me or not (user.isdecimal() and me.isdecimal())
    submitted = float(at) if at.isdecimal() else None
    return report._replace(comment=_text(comment), script=script, own=own, submitted=submitted)


def ordinal(number: int) -> str:
    """Return "1st", "2nd", "3rd", "4th", …."""
    last = 0 if number // 10 % 10 == 1 else number % 10
    return f"{number}" + {1: "st", 2: "nd", 3: "rd"}.get(last, "th")


def _text(field: str) -> str:
    """A field's text; empty for the placeholders of squeue and sacct."""
    return "" if field in ("None", "None assigned", "(null)") else field
