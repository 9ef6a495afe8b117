"""Grid Engine: qsub, qstat, qacct, qdel and qalter of Son of Grid Engine 8.1 and its relatives."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from slurm.protocol.shell import program
from slurm.protocol.states import JobState
from slurm.schedulers import grid_engine_reports
from slurm.schedulers.base import Report
from slurm.schedulers.qsub import QsubScheduler, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.schedulers.base import Request, Site
    from slurm.schedulers.qsub import Wanted

_DELETED = (JobState.CANCELLED, "it was deleted before it ran")


class GridEngineScheduler(QsubScheduler):
    """Grid Engine, by its commands. An array's id is "12"; the id of its first element is "12.1"."""

    name = "sge"
    title = "Grid Engine"
    raw = 'sbatch={"--l": "gpu=1"} for its -l gpu=1'
    submit = "grid_engine_submit.sh"
    task = "$((SGE_TASK_ID - 1))"
    version_command = "qconf -help"
    needs = ("qsub", "qstat", "qacct", "qdel", "qalter")
    cannot = (
        *("begin", "clusters", "constraint", "deadline", "exclude", "gpus", "gpus_per_node", "gpus_per_task", "gres"),
        *("licenses", "mem_per_gpu", "nodefile", "nodelist", "qos", "reservation"),
    )
    away = ("unable to send message to qmaster", "unable to contact qmaster", "commlib error", "got select error")
    full = ("jobs are allowed per user",)
    rejections = (
        *("Job was rejected", "job rejected", "unknown resource", "denied:", "not allowed in objectname"),
        *("there is no script", "must have the same range of sub-tasks", "argument to -", "Unknown option"),
        "Invalid job array specification",
    )
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

    def lines(self, request: Request, wanted: Wanted) -> Sequence[str]:
        """Return lines that set variables that Slurm documents."""
        return (
            "export SLURM_JOB_ID=$JOB_ID.$SGE_TASK_ID",
            # With -V, a job of 8.1.9 lacks the first directory of PATH. TMPDIR has wrappers of parallel environments.
            "export PATH=${TMPDIR:+$TMPDIR:}$SGE_O_PATH SLURM_SUBMIT_DIR=$SGE_O_WORKDIR SLURM_CPUS_ON_NODE=$NSLOTS",
            '[ "${RESTARTED:-0}" = 0 ] || export SLURM_RESTART_COUNT=$RESTARTED',
        )

    def arguments(self, request: Request, wanted: Wanted) -> Sequence[str]:
        """Return qsub's options, with whole jobs or single elements to wait for."""
        options, seconds = request.options, wanted.seconds
        flags = {
            "-t": f"{wanted.tasks[0] + 1}-{wanted.tasks[-1] + 1}",
            "-N": wanted.name,
            "-ac": f"SLURMTASKS_TAG={wanted.tag}",
            "-tc": options.get("max_concurrent"),
            "-q": options.get("partition"),
            "-P": options.get("account"),
            "-wd": options.get("chdir"),
            "-r": "n" if options.get("no_requeue") else None,
            "-pe": f"smp {wanted.cpus}" if wanted.cpus > 1 else None,
            "-h": options.get("hold"),
        }
        limits = {
            "mem_free": f"{max(1, wanted.megabytes // wanted.cpus)}M" if wanted.megabytes else "",
            "h_rt": seconds or "",
            "s_rt": max(1, seconds - wanted.lead) if seconds and wanted.lead else "",
        }
        needs = [word for name, value in limits.items() if value for word in ("-l", f"{name}={value}")]
        return [*words(flags, options), *needs, *_dependencies(request)]

    def status_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Run qstat, and qacct for given ids: the queue forgets elements when they end."""
        return ["sh", "-c", program(__name__, "grid_engine_status.sh"), "sh", *ids]

    def parse_status(self, output: str) -> Iterable[Report] | None:
        """Parse the XML of qstat and the text of qacct."""
        if not output.endswith("\nend\n"):
            return None
        reports = grid_engine_reports.parse(output)
        known = {(report.id, task) for report in reports for task in report.tasks or ()}
        now = time.monotonic()
        for id_, task in sorted(grid_engine_reports.elements(output) - known):
            deleted = now - self._missing.setdefault((id_, task), now) >= self.flush
            state, reason = _DELETED if deleted else (JobState.UNKNOWN, "")
            reports.append(Report(id_, [task], state, "", "", reason))
        return reports

    def ids_unknown(self, message: str) -> bool:
        """Recognize the messages of qdel and qalter, which fail if they do not know one of several ids."""
        lines = [
            line for line in message.splitlines() if "modified" not in line and "has " not in line and line.strip()
        ]
        return bool(lines) and all("does not exist" in line or "do not exist" in line for line in lines)

    def hold_command(self, ids: Sequence[str], *, release: bool = False, cluster: str = "") -> Sequence[str]:
        """Run qhold or qrls; both accept single elements."""
        return ["qrls" if release else "qhold", *ids]

    def limits_command(self) -> Sequence[str]:
        """Run qconf to print the configuration."""
        return ["qconf", "-sconf"]

    def parse_max_array_size(self, output: str) -> int:
        """Parse max_aj_tasks; 0, which means no limit, counts as the default of 75000."""
        found = re.search(r"^max_aj_tasks\s+(\d+)", output, re.MULTILINE)
        return (int(found[1]) if found else 0) or 75_000


def _dependencies(request: Request) -> list[str]:
    """Return options that wait for whole jobs or the same element of an array. The runner checks how each ended."""
    pairs = [id_ for kind, ids, _ in request.dependencies if kind == "aftercorr" for id_ in ids]
    together = pairs if len(pairs) == 1 and request.block.tasks is None and request.block.first == 0 else []
    whole = [id_.partition(".")[0] for _, ids, _ in request.dependencies for id_ in ids if id_ not in together]
    found = [("-hold_jid_ad", together), ("-hold_jid", list(dict.fromkeys(whole)))]
    return [word for flag, ids in found if ids for word in (flag, ",".join(ids))]
