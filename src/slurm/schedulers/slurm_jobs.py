"""Slurm's commands about queued jobs: squeue, sacct and scancel as shell text, and parsers of what they print.

Fields are separated by a control character, for comments and paths may hold any other.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from slurm.protocol.states import JobState
from slurm.schedulers.base import Report, numbers, ranges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slurm.schedulers.base import Target

CLEAN = """\
for name in $(env | sed -n 's/^\\([A-Z]*_[A-Za-z0-9_]*\\)=.*/\\1/p'); do
    case $name in
        SQUEUE_*|SACCT_*|SACCTMGR_*|SCANCEL_*|SCONTROL_*|SINFO_*|GREP_*|SLURM_DEBUG_FLAGS) unset "$name" ;;
    esac
done
unset SLURM_CLUSTERS CDPATH
LC_ALL=C SLURM_BITSTR_LEN=0 SLURM_TIME_FORMAT=%s; export LC_ALL SLURM_BITSTR_LEN SLURM_TIME_FORMAT
"""
"""What users export for these commands changes neither what they print nor what they do."""

_BETWEEN = "\x1f"
_FIELDS = _BETWEEN.join(("%F", "%K", "%T", "%N", "%U", "%V", "%r", "%o", "%k"))
"""squeue(1): array job id, array task(s), state, nodes, user's number, submit time, reason, script, comment."""
_HEADER = f"ARRAY_JOB_ID{_BETWEEN}ARRAY_TASK_ID{_BETWEEN}"
_ROW = re.compile(rf"\d+(_(\d+|\[[\d,:%-]+\]))?{_BETWEEN}")
_ERROR = re.compile(r"^(squeue|slurm_load_jobs)\S*:? (error|fatal)", re.MULTILINE)

_QUERY = f"""\
{CLEAN}
id -u
exec squeue --states=all --format={shlex.quote(_FIELDS)} "$@"
"""

_COLUMNS = "jobid,state,exitcode,nodelist,reason,uid,submit,comment"
_HISTORY = f"""\
{CLEAN}
id -u
with=submitline
sacct --helpformat | grep -q -i -w submitline || with=comment  # 20.11
exec sacct --allocations --duplicates --parsable2 --delimiter={shlex.quote(_BETWEEN)} \\
    --format={_COLUMNS},$with "$@"
"""

_CANCEL = f"""\
{CLEAN}
fields={shlex.quote(_BETWEEN.join(("%F", "%k", "%o")))}
said=$(squeue --states=all --format="$fields" {{where}} --jobs={{jobs}} 2>&1; echo "=$?")
case $said in
    *ARRAY_JOB_ID{_BETWEEN}*'
=0') ;;
    *"Invalid job id specified"*) exit 0 ;;
    *=0) printf '%s\\n' "${{{{said%=0}}}}" >&2; exit 1 ;;
    *) printf '%s\\n' "${{{{said%=*}}}}" >&2; exit "${{{{said##*=}}}}" ;;
esac
own=$(printf '%s\\n' "$said" | sort -u | while IFS={shlex.quote(_BETWEEN)} read -r id comment script; do
    case $id in
{{keys}}
        *) continue ;;
    esac
    for key in $keys; do
        case $script in *"/$key/"*) echo ":$id=$key:" ;; esac
        case $comment in "$key"|"$key"[+~\\ ]*) echo ":$id=$key:" ;; esac
    done
done)
set --
{{names}}
[ $# -eq 0 ] || exec scancel --quiet {{where}} "$@"
"""
"""Looks whose jobs these are, by the marks of `slurm.schedulers.marks`, and cancels only what is a target's own."""


def query(ids: Sequence[str], cluster: str) -> list[str]:
    """Squeue, of jobs in any state: a finished job is there for MinJobAge."""
    return ["sh", "-c", _QUERY, "sh", *_where(cluster), f"--jobs={','.join(ids)}"]


def reports(output: str) -> list[Report] | None:
    """What squeue printed; None unless it has its header, no error, and ends with a whole line."""
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
        report = Report(id_, some, JobState.parse(word), word, _told(node), _told(reason))
        found.append(_marked(report, comment, script, own=_own(user, me), at=at))
    return found


def history(ids: Sequence[str], cluster: str) -> list[str]:
    """Sacct, of all jobs that ever had these ids, a line for each allocation.

    Not --json: that of 22.05 reports success for jobs that failed.
    """
    return ["sh", "-c", _HISTORY, "sh", *_where(cluster), f"--jobs={','.join(ids)}"]


def histories(output: str) -> list[Report]:
    """What it printed, oldest first: "12_3", "CANCELLED by 0", "0:15", …; soon after an end, "12" may be all of it.

    The line that submitted a job is told some seconds after its start, and not by 20.11.
    """
    me, _, said = output.partition("\n")
    header, _, rows = said.partition("\n")
    has_line = header.endswith("SubmitLine")
    found = []
    for row in _rows(rows):
        name, word, exit_, node, reason, user, at, comment, line = (row.split(_BETWEEN, 8) + [""] * 8)[:9]
        id_, _, tasks = name.partition("_")
        some = numbers(tasks) if tasks else None
        report = Report(id_, some, JobState.parse(word), word, _told(node), _told(reason), exit_)
        found.append(_marked(report, comment, line if has_line else "", own=_own(user, me), at=at))
    return sorted(found, key=lambda report: report.submitted or 0.0)


def cancel(targets: Sequence[Target], cluster: str) -> str:
    """Shell lines that cancel quietly: a job that has ended meanwhile is no error."""
    keys: dict[str, dict[str, None]] = {}
    for target in targets:
        keys.setdefault(target.id, {})[target.key] = None
    cases = [f"        {shlex.quote(id_)}) keys={shlex.quote(' '.join(some))} ;;" for id_, some in keys.items()]
    names = [
        f'case $own in *{shlex.quote(f":{id_}={key}:")}*) set -- "$@" {shlex.quote(_name(id_, tasks))} ;; esac'
        for id_, tasks, key in targets
    ]
    return _CANCEL.format(
        where=shlex.join(_where(cluster)),
        jobs=shlex.quote(",".join(keys)),
        keys="\n".join(cases),
        names="\n".join(names),
    )


def _name(id_: str, tasks: Sequence[int] | None) -> str:
    return id_ if tasks is None else f"{id_}_[{ranges(tasks)}]"


def _where(cluster: str) -> list[str]:
    return [f"--clusters={cluster}"] if cluster else []


def _rows(text: str) -> Iterator[str]:
    """The lines that begin with an id, each with those after it that don't: texts of users may have several lines."""
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


def _marked(report: Report, comment: str, script: str, *, own: bool, at: str) -> Report:
    """A report with what tells whose job it is."""
    submitted = float(at) if at.isdecimal() else None
    return report._replace(comment=_told(comment), script=script, own=own, submitted=submitted)


def _told(words: str) -> str:
    return "" if words in ("None", "None assigned", "(null)") else words


def _own(user: str, me: str) -> bool:
    return user == me or not (user.isdecimal() and me.isdecimal())
