"""PBS: qsub, qstat, qselect and qdel of OpenPBS and PBS Professional, and of Torque."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from slurm.protocol.shell import program
from slurm.schedulers import pbs_reports
from slurm.schedulers.base import ntasks
from slurm.schedulers.qsub import QsubScheduler, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.schedulers.base import Report, Request
    from slurm.schedulers.qsub import Wanted

_GONE = ("Unknown Job Id", "Job has finished", "nonexistent job id", "invalid for state of job")


class PBSScheduler(QsubScheduler):
    """PBS, by its commands. An array's id is "12[].server", the id of an element "12[3].server"."""

    name = "pbs"
    title = "PBS"
    raw = 'sbatch={"--l": "place=excl"} for its -l place=excl'
    submit = "pbs_submit.sh"
    task = "${PBS_ARRAY_INDEX:-${PBS_ARRAYID:-$first}}"
    memory = "job_history_enable = True|keep_completed = [1-9]"
    version_command = "qstat --version 2>&1"
    needs = ("qsub", "qstat", "qselect", "qdel")
    id_form = r"[0-9]+(\[\])?(\.[A-Za-z0-9_.-]+)?"
    cannot = (
        *("begin", "clusters", "constraint", "deadline", "exclude", "exclusive", "gpus_per_task", "gres", "licenses"),
        *("mem_per_gpu", "nodefile", "nodelist", "qos", "requeue", "reservation"),
    )
    full = ("Maximum number of jobs", "would exceed")
    away = ("cannot connect to server", "Connection refused", "No route to host", "Server shutting down")
    rejections = (
        *("illegal -", "invalid option", "Illegal attribute", "Undefined attribute", "there is no script"),
        *("Unknown queue", "Unknown resource", "Unknown Job Id", "Invalid Job Dependency", "satisfy dependency"),
        *("violates queue", "exceeds queue", "exceeds server", "exceeds allowable", "Bad Job Array Request"),
        *("rejected by all possible destinations", "No default queue", "Queue is not enabled", "Queue does not allow"),
        *("is denied", "host not allowed", "Unauthorized Request", "Invalid Account", "Bad UID", "Bad GID"),
    )

    @classmethod
    def element_id(cls, id_: str, task: int) -> str:
        """Put the number in the brackets. A job without brackets is a block of one element."""
        return id_.replace("[]", f"[{task}]")

    def lines(self, request: Request, wanted: Wanted) -> Sequence[str]:
        """Return lines that set variables and send the signal before the time limit, which PBS itself does not send."""
        early = f"(sleep {max(1, wanted.seconds - wanted.lead)}; kill -s {wanted.signal} $$) > /dev/null 2>&1 &"
        return (
            f"export SLURM_JOB_ID=$PBS_JOBID SLURM_SUBMIT_DIR=$PBS_O_WORKDIR SLURM_CPUS_ON_NODE={wanted.cpus}",
            'cd -- "$PBS_O_WORKDIR"',  # the script handles a missing directory
            *([early] if wanted.lead and wanted.seconds else ()),
        )

    def arguments(self, request: Request, wanted: Wanted) -> Sequence[str]:
        """Return options for both kinds of qsub, then whole jobs to wait for. PBS rejects an array of one element."""
        options, most = request.options, request.options.get("max_concurrent")
        common = {
            "-N": wanted.name,
            "-q": options.get("partition"),
            "-A": options.get("account"),
            "-h": options.get("hold"),
            "-v": f"SLURMTASKS_FIRST={wanted.tasks[0]},SLURMTASKS_TAG={wanted.tag}",
        }
        many, span = len(wanted.tasks) > 1, f"{wanted.tasks[0]}-{wanted.tasks[-1]}"
        limited = ["-W", f"max_run_subjobs={most}"] if many and most else []
        openpbs = [*words(common | {"-J": span if many else None}, options), *limited]
        torque = words(common | {"-t": f"{span}%{most}" if most else span} if many else common, options)
        time = ["-l", f"walltime={wanted.seconds}"] if wanted.seconds else []
        if not re.search("select=|nodes=", str(options.sbatch.get("--l"))):
            chunk = {"ncpus": wanted.cpus, "mpiprocs": processes if (processes := ntasks(options.get)) > 1 else 0,
                     "mem": f"{wanted.megabytes}mb" if wanted.megabytes else 0, "ngpus": wanted.gpus}  # fmt: skip
            openpbs += ["-l", ":".join(["select=1", *(f"{name}={value}" for name, value in chunk.items() if value)])]
            torque += ["-l", f"nodes=1:ppn={wanted.cpus}" + (f":gpus={wanted.gpus}" if wanted.gpus else "")]
            torque += ["-l", f"mem={chunk['mem']}"] if wanted.megabytes else []
        return [shlex.join([*openpbs, *time]), shlex.join([*torque, *time]), *_dependencies(request)]

    def status_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Run qstat, also for finished jobs and for the elements of arrays."""
        return ["sh", "-c", program(__name__, "pbs_status.sh"), "sh", *ids]

    def parse_status(self, output: str) -> Iterable[Report] | None:
        """Parse JSON or text. An array is reported by its elements."""
        if not output.endswith("\nend\n"):
            return None
        return pbs_reports.parse(output.removesuffix("end\n"))

    def ids_unknown(self, message: str) -> bool:
        """Recognize the messages of qstat and qdel, which fail if they do not know one of several ids."""
        errors = re.findall(r"^q\w+: .*", message, flags=re.MULTILINE)
        return bool(errors) and all(any(words in line for words in _GONE) for line in errors)

    def limits_command(self) -> Sequence[str]:
        """Run qstat to print the server's settings."""
        return ["qstat", "-B", "-f"]

    def parse_max_array_size(self, output: str) -> int:
        """Parse max_array_size or max_job_array_size; OpenPBS uses 10000 unless the site sets it."""
        found = re.search(r"max_(?:job_)?array_size = (\d+)", output)
        return int(found[1]) if found else 10_000


def _dependencies(request: Request) -> list[str]:
    """Return what to wait for: "afterok:12.server". PBS waits for arrays as a whole."""
    kinds: dict[str, dict[str, None]] = {}
    for kind, ids, _ in request.dependencies:
        for id_ in ids:
            whole = re.sub(r"\[\d+\]", "[]", id_)
            kinds.setdefault("afterany" if kind == "aftercorr" or whole != id_ else kind, {})[whole] = None
    return [":".join((kind, *ids)) for kind, ids in kinds.items()]
