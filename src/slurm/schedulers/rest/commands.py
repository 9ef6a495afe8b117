"""`submit`, `query`, `find`, `history`, `cancel`: what sbatch, squeue, sacct and scancel do, by requests to slurmrestd.

They print the same formats as Slurm's commands, so that the parsers in `slurm.schedulers.slurm_jobs` can read them.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

from slurm.protocol.ranges import numbers
from slurm.schedulers.marks import has_tag
from slurm.schedulers.rest import job_fields
from slurm.schedulers.rest.connection import ADVICE, REJECTED, TOKEN, Connection, RestError, has_no_accounting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slurm.schedulers.rest.connection import Answer

NO_ACCOUNTING = "slurmrestd offers no accounting storage"
_UNKNOWN_JOB = 2017
_UNKNOWN_JOB_WORDS = ("Invalid job id specified", "unknown job", "Nothing found")
_ENDED_WORDS = ("already completing or completed", "already finished")
_UNEXPLAINED, _NO_BYTES = -1, "Zero Bytes were transmitted or received"
_NEVER = "DependencyNeverSatisfied"
_NO_JOB = 0xFFFFFFF0
"""An id above all that Slurm assigns."""
VAGUE = "slurmctld does not answer, or does not accept the token"
_SEPARATOR = "\x1f"
_HEADER = ("ARRAY_JOB_ID", "ARRAY_TASK_ID", "STATE", "NODELIST", "UID", "SUBMIT START", "REASON", "COMMAND", "COMMENT")
_COLUMNS = ("JobID", "State", "ExitCode", "NodeList", "Reason", "UID", "Submit", "Comment")


def main(argv: Sequence[str]) -> int:
    """Run one command. SlurmRestScheduler parses the output."""
    command, *arguments = argv
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        _COMMANDS[command](Connection(), arguments)
    except RestError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _submit(rest: Connection, arguments: Sequence[str]) -> None:
    """Queue a job, and print its id. Arguments: the request as JSON, and the dependency or ""."""
    request, dependency = json.loads(arguments[0]), arguments[1]
    if not os.access(request["script"], os.R_OK):
        raise RestError(f"{REJECTED}: cannot read the script {request['script']}")
    options = {"chdir": os.getcwd(), **request["options"], **({"dependency": dependency} if dependency else {})}
    # slurmrestd gets only this line: the node reads the script itself, from the job directory.
    command = shlex.join(["exec", "/bin/bash", request["script"], *request["arguments"]])
    answer = rest.call(
        "POST",
        "job/submit",
        lambda version: job_fields.submission(
            version, options, _environment(options), f"#!/bin/bash\n{command}\n", request["script"]
        ),
    )
    id_ = answer.json.get("job_id") or (answer.json.get("result") or {}).get("job_id")
    if not id_:
        _explain_refusal(rest, answer)
    # If there is an id, the job is queued, and an error is only a warning, such as that the job is held.
    if message := answer.json.get("job_submit_user_msg") or answer.words:
        print(message, file=sys.stderr)
    print(id_)


def _explain_refusal(rest: Connection, answer: Answer) -> None:
    """Raise a RestError with the message that sbatch prints."""
    words = str(answer.errors[0].get("error") or answer.words) if len(answer.errors) == 1 else ""
    if rest.version < job_fields.STRUCTURED and _is_vague(answer) and _is_vague(rest.call("DELETE", f"job/{_NO_JOB}")):
        raise RestError(f"{REJECTED}: slurmctld does not accept the token: {words}. {ADVICE}")
    if words:
        raise RestError(f"slurmrestd v0.0.{rest.version}: Batch job submission failed: {words}")
    raise RestError(f"{REJECTED}: v0.0.{rest.version}: {answer.words or 'no id in the answer'}")


def _is_vague(answer: Answer) -> bool:
    """Whether slurmctld may have rejected the token: up to v0.0.38, a lost connection gives the same answer."""
    return _UNEXPLAINED in answer.numbers or _NO_BYTES in answer.words


def _environment(options: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a job: that of this process without the token, and the variables that sbatch adds."""
    mask = os.umask(0o077)
    os.umask(mask)
    ours = {name: value for name, value in os.environ.items() if name != TOKEN and _is_text(name + value)}
    counts = {
        f"SLURM_{name.upper().replace('-', '_')}": name for name in ("ntasks", "cpus-per-task", "ntasks-per-node")
    }
    return {
        **ours,
        "SLURM_SUBMIT_DIR": os.getcwd(),
        "SLURM_SUBMIT_HOST": os.uname().nodename,
        "SLURM_UMASK": f"{mask:04o}",
        **{name: options[option] for name, option in counts.items() if option in options},
    }


def _is_text(text: str) -> bool:
    """Whether JSON can represent the text: it has no undecodable bytes (surrogates)."""
    return not any("\udc80" <= character <= "\udcff" for character in text)


def _query(rest: Connection, ids: Sequence[str]) -> None:
    """Print jobs as squeue does. Arguments: ids; without them, all jobs of the user."""
    rows, cluster = [], ""
    for job in _own(rest) if not ids else (job for id_ in ids for job in _jobs(rest, id_)):
        cluster = str(job.get("cluster") or cluster)
        id_, tasks = job_fields.tasks(job)
        submitted, start = (job_fields.number(job.get(name)) or 0 for name in ("submit_time", "start_time"))
        state = job_fields.state(job.get("job_state"))
        never = _field(job, "state_reason") == _NEVER and state == "PENDING"
        if never and rest.version < job_fields.FIRST_WITH_ELEMENTS:
            # This version has no field that makes slurmctld cancel such a job.
            rest.call("DELETE", f"job/{job['job_id']}")
            state = "CANCELLED"
        rows.append([
            id_, tasks or "N/A", state, _field(job, "nodes"), str(job.get("user_id")),
            f"{submitted} {start}", _field(job, "state_reason") or "None", _field(job, "command") or "(null)",
            _field(job, "comment"),
        ])  # fmt: skip
    print(os.geteuid())
    print(f"CLUSTER: {cluster}")
    for row in [_HEADER, *rows]:
        print(_SEPARATOR.join(row))


def _field(job: Mapping[str, Any], name: str) -> str:
    """Return a text field of a job as one line."""
    return " ".join(str(job.get(name) or "").splitlines())


def _find(rest: Connection, _: Sequence[str]) -> None:
    """Print ids, comments and commands of the user's jobs."""
    print("ARRAY_JOB_ID|COMMENT|COMMAND")
    for job in _own(rest):
        print(f"{job_fields.tasks(job)[0]}|{_field(job, 'comment')}|{job.get('command') or '(null)'}")


def _history(rest: Connection, ids: Sequence[str]) -> None:
    """Print jobs in the accounting as sacct does."""
    rows = []
    for id_ in ids:
        answer = rest.call("GET", f"job/{id_}", of="slurmdb")
        if rest.version < job_fields.FIRST_WITH_ELEMENTS:
            raise RestError(f"{NO_ACCOUNTING} with states: v0.0.{rest.version} reports reasons instead of states")
        if has_no_accounting(answer):
            raise RestError(f"{NO_ACCOUNTING}: {answer.words}")
        if answer.errors and not answer.json.get("jobs"):
            if _is_unknown(answer):
                continue
            raise RestError(f"the accounting did not answer: {answer.words}")
        for job in answer.json.get("jobs") or []:
            name, code = job_fields.finished(job)
            about, comment = job.get("state") or {}, job.get("comment") or {}
            rows.append([
                name, job_fields.state(about.get("current")), code, str(job.get("nodes") or ""),
                str(about.get("reason") or "None"), "", str((job.get("time") or {}).get("submission") or ""),
                " ".join(str(comment.get("job") if isinstance(comment, dict) else comment).splitlines()),
            ])  # fmt: skip
    print(os.geteuid())
    for row in [_COLUMNS, *rows]:
        print(_SEPARATOR.join(row))


def _cancel(rest: Connection, names: Sequence[str]) -> None:
    """Cancel each "id", "id_tasks" or "id_tasks=key"; with a key, only if the job belongs to that submission."""
    problems = []
    for name, equals, key in (each.partition("=") for each in names):
        id_, _, wanted = name.partition("_")
        jobs = _jobs(rest, id_)
        marks = [has_tag(key, comment=_submission(job), script=str(job.get("command") or "")) for job in jobs]
        if jobs and not (equals and False in marks):
            problems += _delete(rest, id_, jobs, set(numbers(wanted)) if wanted else None)
    if problems:
        raise RestError("\n".join(problems))


def _submission(job: Mapping[str, Any]) -> str:
    """Return the key of the submission in a comment, without the block."""
    return str(job.get("comment") or "").partition(" ")[0].partition("+")[0].partition("~")[0]


def _delete(rest: Connection, id_: str, jobs: Sequence[Mapping[str, Any]], wanted: set[int] | None) -> list[str]:
    """Delete a job, or some elements of an array, and return the errors."""
    paths = [id_] if wanted is None else [f"{id_}_{task}" for task in sorted(wanted)]
    problems = []
    if rest.version < job_fields.FIRST_WITH_ELEMENTS:
        paths = []
        for job in jobs:
            tasks = set(numbers(text)) if (text := job_fields.tasks(job)[1]) else {0}
            if wanted is None or tasks <= wanted:
                paths.append(str(job["job_id"]))
            elif tasks & wanted:
                problems.append(f"v0.0.{rest.version} of slurmrestd cannot cancel single waiting elements of {id_}")
    for path in paths:
        answer = rest.call("DELETE", f"job/{path}")
        if answer.errors and not _is_unknown(answer) and not any(words in answer.words for words in _ENDED_WORDS):
            problems.append(f"cannot cancel {path}: {answer.words}")
    return problems


def _own(rest: Connection) -> list[dict[str, Any]]:
    """Return all jobs of the user. The API can only list the jobs of all users."""
    answer = rest.call("GET", "jobs")
    _raise_for(rest, answer)
    return [job for job in answer.json.get("jobs") or [] if job.get("user_id") == os.geteuid()]


def _jobs(rest: Connection, id_: str) -> list[dict[str, Any]]:
    """Return a job in the queue: for an array, its parts; an empty list if Slurm does not know the job."""
    answer = rest.call("GET", f"job/{id_}")
    if _is_unknown(answer):
        return []
    _raise_for(rest, answer)
    return list(answer.json.get("jobs") or [])


def _is_unknown(answer: Answer) -> bool:
    return _UNKNOWN_JOB in answer.numbers or any(words in answer.words for words in _UNKNOWN_JOB_WORDS)


def _raise_for(rest: Connection, answer: Answer) -> None:
    """Raise RestError for a failed query. If its text says that slurmctld does not answer, callers repeat the query."""
    if answer.errors:
        why = f" ({VAGUE})" if _UNEXPLAINED in answer.numbers else ""
        raise RestError(f"slurmrestd v0.0.{rest.version}: {answer.words}{why}")


_COMMANDS: Mapping[str, Callable[[Connection, Sequence[str]], None]] = {
    "submit": _submit,
    "query": _query,
    "find": _find,
    "history": _history,
    "cancel": _cancel,
}
