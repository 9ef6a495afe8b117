"""Grid Engine: qsub, qstat, qacct, qdel and qalter of Son of Grid Engine 8.1 and its relatives."""

from __future__ import annotations

import re
import shlex
import time
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from slurm.errors import OptionError
from slurm.protocol.shell import program
from slurm.protocol.states import JobState
from slurm.schedulers import directives
from slurm.schedulers.base import Failure, Report, Scheduler, ntasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.options import Options
    from slurm.protocol import Block
    from slurm.schedulers.base import Request, Site
    from slurm.schedulers.survey import Survey

_STATES = {
    **dict.fromkeys(("qw", "hqw", "hRqw", "Rqw", "hRwq", "w"), JobState.PENDING),
    **dict.fromkeys(("r", "t", "hr", "ht", "Rr", "Rt", "hRr"), JobState.RUNNING),
    **dict.fromkeys(("s", "S", "T", "ts", "tS", "tT", "Rs", "RS", "RT", "N"), JobState.SUSPENDED),
}
_AWAY = ("unable to send message to qmaster", "unable to contact qmaster", "commlib error", "got select error")
_REFUSALS = (
    *(
        "Job was rejected",
        "job rejected",
        "unknown resource",
        "denied:",
        "not allowed in objectname",
        "there is no script",
    ),
    *("must have the same range of sub-tasks", "argument to -", "Unknown option", "Invalid job array specification"),
)
_CANNOT = (
    *("begin", "clusters", "constraint", "deadline", "exclude", "gpus", "gpus_per_node", "gpus_per_task", "gres"),
    *("licenses", "mem_per_gpu", "nodefile", "nodelist", "qos", "reservation"),
)
"""Options that change what a job needs, and whose counterpart is named differently at each site."""
_JOB = r"<job_list .*?</job_list>"
_RANGE = r"<RN_min>(\d+)</RN_min>\s*<RN_max>(\d+)</RN_max>\s*<RN_step>(\d+)</RN_step>"
_DELETED = (JobState.CANCELLED, "it was deleted before it ran")
_LIMIT, _SIGNAL = 37, 100
"""Codes in the field `failed` of qacct: the qmaster enforced a limit; the job ended by a signal."""
_KILLED = "it was killed: by qdel, or because it used too much memory"


class GridEngineScheduler(Scheduler):
    """Grid Engine, by its commands. An array's id is "12"; the id of its first element is "12.1"."""

    name = "sge"
    needs = ("qsub", "qstat", "qacct", "qdel", "qalter")
    end_signal = "KILL"
    flush = 20.0
    """Seconds after which an element that is in neither the queue nor the accounting was deleted before it ran.

    The qmaster writes the accounting every 15 seconds (sge_conf(5), flush_time).
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._missing: dict[tuple[str, int], float] = {}

    @classmethod
    def element_id(cls, id_: str, task: int) -> str:
        """Array tasks count from 1."""
        return f"{id_}.{task + 1}"

    def directives(self, options: Options, *, tag: str, log: str, block: Block) -> Sequence[str]:
        """None: the submit command has all options, and its job runs the script with the variables of Slurm."""
        del options, tag, log, block
        return ()

    def submit_command(self, request: Request) -> Sequence[str]:
        """Qsub, with a job that runs the script where it is."""
        return ["sh", "-c", program(__name__, "grid_engine_submit.sh"), "sh", request.script, _job(request),
                *_arguments(request), *_dependencies(request)]  # fmt: skip

    def parse_failure(self, message: str) -> Failure:
        """Without a connection to the qmaster nothing is queued."""
        if self.is_transient(message):
            return Failure.LATER
        return Failure.REFUSED if any(words in message for words in _REFUSALS) else Failure.UNKNOWN

    def status_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Qstat, and for given ids qacct: the queue forgets elements when they end."""
        return ["sh", "-c", program(__name__, "grid_engine_status.sh"), "sh", *ids]

    def parse_status(self, output: str) -> Iterable[Report] | None:
        """Parse the XML of qstat and the text of qacct."""
        if not output.endswith("\nend\n"):
            return None
        reports = _reports(output)
        known = {(report.id, task) for report in reports for task in report.tasks or ()}
        now = time.monotonic()
        for id_, task in sorted(_elements(output) - known):
            deleted = now - self._missing.setdefault((id_, task), now) >= self.flush
            state, reason = _DELETED if deleted else (JobState.UNKNOWN, "")
            reports.append(Report(id_, [task], state, "", "", reason))
        return reports

    def is_transient(self, message: str) -> bool:
        """The qmaster is down or restarts."""
        return any(words in message for words in _AWAY)

    def ids_unknown(self, message: str) -> bool:
        """Qdel and qalter fail if they do not know one of several ids."""
        lines = [
            line for line in message.splitlines() if "modified" not in line and "has " not in line and line.strip()
        ]
        return bool(lines) and all("does not exist" in line or "do not exist" in line for line in lines)

    def cancel_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Qdel."""
        return ["qdel", *ids]

    def hold_command(self, ids: Sequence[str], *, release: bool = False, cluster: str = "") -> Sequence[str]:
        """Qhold and qrls; both take single elements."""
        return ["qrls" if release else "qhold", *ids]

    def limits_command(self) -> Sequence[str]:
        """Qconf, of the configuration."""
        return ["qconf", "-sconf"]

    def parse_max_array_size(self, output: str) -> int:
        """Parse max_aj_tasks; 0 is no limit."""
        found = re.search(r"^max_aj_tasks\s+(\d+)", output, re.MULTILINE)
        return (int(found[1]) if found else 0) or 75_000

    def survey_script(self) -> str:
        """Print the version, after the programs that are missing."""
        return f"{super().survey_script()}\nqconf -help | head -n 1 | sed 's/^/version: /'"

    def parse_survey(self, output: str) -> Survey:
        """Parse the first line of qconf -help: "SGE 8.1.9"."""
        head, found, version = output.partition("version: ")
        survey = super().parse_survey(head)
        if survey.trouble or not found:
            return survey._replace(version="", trouble=survey.trouble or output.strip())
        return survey._replace(version=version.strip(), accounting=True)


def _job(request: Request) -> str:
    """Return the job's own script: it sets the variables of Slurm, then runs the script of the submission."""
    options, block = request.options, request.block
    log = shlex.quote(request.log.replace("%%", "%"))
    log = log.replace("%a", "'$SLURM_ARRAY_TASK_ID'" if log.startswith("'") else "$SLURM_ARRAY_TASK_ID")
    wanted = "" if block.tasks is None else " ".join(map(str, block.tasks))
    return "\n".join([
        "#!/bin/bash",
        "export SLURM_ARRAY_TASK_ID=$((SGE_TASK_ID - 1)) SLURM_JOB_ID=$JOB_ID.$SGE_TASK_ID",
        f'case " {wanted or "$SLURM_ARRAY_TASK_ID"} " in *" $SLURM_ARRAY_TASK_ID "*) ;; *) exit 0 ;; esac',
        f"exec >> {log} 2>&1",
        # With -V, a job of 8.1.9 lacks the first directory of PATH. TMPDIR has wrappers of parallel environments.
        "export PATH=${TMPDIR:+$TMPDIR:}$SGE_O_PATH",
        "export SLURM_SUBMIT_DIR=$SGE_O_WORKDIR SLURM_CPUS_ON_NODE=$NSLOTS",
        f"export SLURM_NTASKS={ntasks(options.get)} SLURM_CPUS_PER_TASK={options.get('cpus_per_task') or 1}",
        f"export SLURM_JOB_NAME={shlex.quote(str(options.get('job_name') or ''))}",
        '[ "${RESTARTED:-0}" = 0 ] || export SLURM_RESTART_COUNT=$RESTARTED',
        shlex.join(["exec", "/bin/bash", request.script, *request.arguments]),
    ])  # fmt: skip


def _arguments(request: Request) -> list[str]:
    """Return the options as arguments of qsub. Raises OptionError for those that it cannot do."""
    options, block = request.options, request.block
    for name in _CANNOT:
        if options.get(name) is not None:
            raise OptionError(
                f"{name}={options.get(name)!r}: Grid Engine has no option of this meaning that every site has. Remove "
                f'it, or write what this site uses, such as sbatch={{"--l": "gpu=1"}} for its -l gpu=1'
            )
    if str(options.get("nodes") or 1) not in {"1", "1-1"}:
        raise OptionError(f"nodes={options.get('nodes')!r}: a job of Grid Engine has one node here. Remove the option")
    tasks = sorted(block.tasks or range(block.count))
    cpus = ntasks(options.get) * int(str(options.get("cpus_per_task") or 1))
    mem, seconds = options.get("mem"), _seconds(str(options.get("time") or "0"))
    given = {
        "-t": f"{tasks[0] + 1}-{tasks[-1] + 1}",
        "-N": re.sub(r"^(?=\d)|[^A-Za-z0-9_.-]+", "_", str(options.get("job_name") or "job")),
        "-ac": f"SLURMTASKS_TAG={_quoted(directives.comment(options, request.comment))}",
        "-tc": options.get("max_concurrent"),
        "-q": options.get("partition"),
        "-P": options.get("account"),
        "-wd": options.get("chdir"),
        "-r": "n" if options.get("no_requeue") else None,
        "-pe": f"smp {cpus}" if cpus > 1 else None,
    } | {f"-{name.lstrip('-')}": value for name, value in options.sbatch.items() if value not in (None, False)}
    words = [word for name, value in given.items() if value is not None for word in _words(name, value)]
    words += [] if not mem else ["-l", f"mem_free={max(1, _megabytes(str(mem)) // cpus)}M"]
    words += [] if not seconds else ["-l", f"h_rt={seconds}"]
    if options.get("signal") and seconds:
        before = int(str(options.get("signal")).rpartition("@")[2])
        words += ["-l", f"s_rt={max(1, seconds - before)}"]
    return [*words, *(["-h"] if options.get("hold") else [])]


def _words(name: str, value: object) -> list[str]:
    """Return an option and its values: a parallel environment has two."""
    return [name] if value is True else [name, *(str(value).split() if name == "-pe" else [str(value)])]


def _dependencies(request: Request) -> list[str]:
    """Wait for the end of whole jobs, or of the same element of an array: the runner looks at how each ended."""
    pairs = [id_ for kind, ids, _ in request.dependencies if kind == "aftercorr" for id_ in ids]
    together = pairs if len(pairs) == 1 and request.block.tasks is None and request.block.first == 0 else []
    whole = [id_.partition(".")[0] for _, ids, _ in request.dependencies for id_ in ids if id_ not in together]
    found = [("-hold_jid_ad", together), ("-hold_jid", list(dict.fromkeys(whole)))]
    return [word for flag, ids in found if ids for word in (flag, ",".join(ids))]


def _reports(output: str) -> list[Report]:
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


def _elements(output: str) -> set[tuple[str, int]]:
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


def _quoted(comment: str) -> str:
    """Quote what ends a value of a context, and what no XML of qstat repeats."""
    return quote(comment, safe=" /+~:=@|-")


def _seconds(limit: str) -> int:
    """Parse sbatch's minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]."""
    days, dash, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes, seconds = ([*parts, 0, 0] if dash or len(parts) == 3 else [0, *parts, 0])[:3]
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds


def _megabytes(mem: str) -> int:
    """Parse sbatch's megabytes, or a number with K, M, G or T."""
    return round(float(mem.rstrip("KMGT")) * {"K": 1 / 1024, "G": 1024, "T": 1024**2}.get(mem[-1], 1))
