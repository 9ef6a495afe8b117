"""SlurmScheduler: sbatch, squeue, scancel and scontrol, as in their manual pages from 20.11 to 25.05."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.protocol import JOBS, SCRIPT, Block, Origin
from slurm.protocol.shell import program
from slurm.schedulers import directives, refusals, slurm_jobs
from slurm.schedulers.base import Partition, Scheduler, Survey, tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.options import Options
    from slurm.schedulers.base import Failure, Report, Request, Target

_INPUT_NAMES = {"time": "TIMELIMIT", "switches": "REQ_SWITCH", "mem": "MEM_PER_NODE"}
"""Options whose SBATCH_ variable has another name; sbatch(1), INPUT ENVIRONMENT VARIABLES."""

_ALWAYS_UNSET = (
    "SBATCH_ARRAY_INX",
    "SBATCH_JOB_NAME",
    "SBATCH_OPEN_MODE",
    "SBATCH_WAIT",
    "SBATCH_INPUT",
    "SBATCH_OUTPUT",
    "SBATCH_ERROR",
    "SLURM_EXIT_ERROR",
)
"""These variables would change how a script is queued, where its output goes, or what sbatch's exit status means."""

_CLUSTER_NAME = re.compile(r"^ClusterName\s*=\s*([\w.-]+)$", re.MULTILINE)
_EXPORTED = re.compile(r"^clusters=(.+)$", re.MULTILINE)
_PASSING = (
    "Socket timed out",
    "Unable to contact slurm controller",
    "Unable to connect to database",
    "Zero Bytes were transmitted or received",
    "Connection refused",
    "Connection timed out",
    "Transport endpoint is not connected",
    "temporarily unable to accept job",
    "Resource temporarily unavailable",
    "rate limit exceeded",
)

_COMMAND = re.compile(rf".*/{JOBS}/(?P<key>[^/]+/[^/]+)/{re.escape(SCRIPT)} (?P<first>\d+)")
"""The command of a submission's own block. A script without arguments was queued by hand."""

_OLDEST = (20, 11)
_LIMITS = ("MaxArraySize", "MaxJobCount", "MinJobAge", "DefMemPerNode", "DefMemPerCPU", "EnforcePartLimits")
_ASSOCIATION = ("MaxJobs", "MaxSubmit", "MaxWall")
_NO_ACCOUNTING = ("", "(null)", "accounting_storage/none")
_USABLE = ("idle", "mix", "alloc", "comp", "resv", "plan", "power")
"""Prefixes of sinfo(1)'s states of nodes that can run jobs."""

_DEFAULT_MAX_ARRAY_SIZE = 1001  # slurm.conf(5)


class SlurmScheduler(Scheduler):
    """Slurm, by its commands."""

    name = "slurm"
    # Export the variables of the setup, and let ranks outlive the first without a limit, whatever defaults the site or
    # the user sets for a step.
    launcher = ("srun", "--kill-on-bad-exit=1", "--wait=0", "--export=ALL")
    needs = ("env", "sbatch", "squeue", "scancel", "scontrol")
    id_form = "[0-9]+(;[A-Za-z0-9_.-]+)?"  # `sbatch --parsable` prints "12;other" for a job on another cluster
    cluster_suffix = ";*"

    @classmethod
    def element_id(cls, id_: str, task: int) -> str:
        """Such as "12_3", or "12_3;other"."""
        number, semicolon, cluster = id_.partition(";")
        return f"{number}_{task}{semicolon}{cluster}"

    @classmethod
    def split_id(cls, id_: str) -> tuple[str, str]:
        """Split at the semicolon."""
        number, _, cluster = id_.partition(";")
        return number, cluster

    def directives(self, options: Options, *, tag: str, log: str, block: Block) -> Sequence[str]:
        """#SBATCH lines."""
        return directives.lines(options, tag=tag, log=log, block=block)

    def submit_command(self, request: Request) -> Sequence[str]:
        """Sbatch. SBATCH_ variables take precedence over the script's lines, so those of given options are unset."""
        asked = [name for name, _ in request.options.set()]
        asked += [name.lstrip("-").replace("-", "_") for name in request.options.sbatch]
        asked += ["signal"] if "signal_lead" in asked else []
        unset = [*_ALWAYS_UNSET, *(f"SBATCH_{_INPUT_NAMES.get(name, name.upper())}" for name in asked)]
        unset += ["SBATCH_CLUSTERS", "SLURM_CLUSTERS"] if request.cluster or "clusters" in asked else []
        return [
            "env",
            *(word for name in unset for word in ("-u", name)),
            "sbatch",
            "--parsable",
            *directives.array(request.block, request.options),
            f"--output={request.log}",
            *directives.over(request),
            *([f"--clusters={request.cluster}"] if request.cluster else []),
            *_dependency(request),
            request.script,
            *request.arguments,
        ]

    def status_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Squeue."""
        return slurm_jobs.status_command(ids, cluster)

    def parse_status(self, output: str) -> Iterable[Report] | None:
        """Squeue's output."""
        return slurm_jobs.parse_status(output)

    def ids_unknown(self, words: str) -> bool:
        """Squeue's message if it was asked about one id only."""
        return "Invalid job id specified" in words

    def accounting_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Sacct."""
        return slurm_jobs.accounting_command(ids, cluster)

    def parse_accounting(self, output: str) -> Iterable[Report]:
        """Sacct's output."""
        return slurm_jobs.parse_accounting(output)

    def accounting_missing(self, words: str) -> bool:
        """Sacct's message if AccountingStorageType is none, or if sacct isn't installed."""
        return "accounting storage is disabled" in words or "not found" in words

    def is_transient(self, words: str) -> bool:
        """Messages of commands if slurmctld is down, busy or temporarily full."""
        return any(passing in words for passing in _PASSING)

    def parse_failure(self, words: str) -> Failure:
        """Sbatch's message."""
        return refusals.parse_failure(words)

    def submit_limits_command(self) -> Sequence[str]:
        """Sacctmgr, for the user's associations and for each QOS."""
        return ["sh", "-c", program(__name__, "submit_limits.sh")]

    def parse_submit_limits(self, output: str, options: Options) -> int | None:
        """The smallest limit that applies to the options; other partitions, accounts and QOS are ignored."""
        found = []
        for line in output.splitlines():
            kind, name, partition, *limits = line.split("|")
            if kind == "assoc":
                counts = name == options.get("account") or not options.get("account")
                counts &= not partition or partition == options.get("partition")
            else:
                counts = name == (options.get("qos") or "normal")
            found += [int(limit) for limit in limits if counts and limit.isdecimal()]
        return min(found, default=None)

    def queued_command(self) -> Sequence[str]:
        """Squeue, a line for each element."""
        return slurm_jobs.clean("squeue", "--noheader", "--me", "--array", "--format=%i")

    def find_command(self, clusters: str) -> Sequence[str]:
        """Squeue, for the user's jobs in any state, with their comments and commands.

        The header tells an empty answer from a missing one.
        """
        return ["sh", "-c", program(__name__, "find.sh"), "sh", clusters]

    def parse_find(self, output: str) -> Iterable[tuple[str, str]] | None:
        """Squeue's output, with a line for each part of an array. A plugin of the site may change comments."""
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
        """Scancel."""
        return slurm_jobs.cancel_command(ids, cluster)

    def cancel_script(self, targets: Sequence[Target], *, cluster: str = "") -> str:
        """Squeue, then scancel of the submissions' own jobs."""
        return slurm_jobs.cancel_script(targets, cluster)

    def requeue_command(self, id_: str) -> Sequence[str]:
        """Scontrol, which some sites do not have on their nodes or forbid there."""
        return slurm_jobs.clean("scontrol", "requeue", id_)

    def limits_command(self) -> Sequence[str]:
        """The controller's configuration, and the default clusters of jobs."""
        return ["sh", "-c", program(__name__, "limits.sh")]

    def parse_origin(self, output: str) -> Origin | None:
        """From ClusterName."""
        name = _CLUSTER_NAME.search(output)
        return Origin(cluster=name[1]) if name else None

    def parse_clusters(self, output: str, options: Options) -> Sequence[str]:
        """From `--clusters`, or else from the variables of sbatch(1)."""
        asked = options.get("clusters") or options.sbatch.get("--clusters") or options.sbatch.get("-M")
        if not asked and (exported := _EXPORTED.search(output)):
            asked = exported[1]
        return [name for name in str(asked or "").split(",") if name]

    def parse_max_array_size(self, output: str) -> int:
        """MaxArraySize: one more than the largest *index* (slurm.conf(5)), so as many elements from 0; 0: no arrays."""
        for line in output.splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "MaxArraySize":
                return int(value)
        return _DEFAULT_MAX_ARRAY_SIZE

    def survey_script(self) -> str:
        """Scontrol, sinfo and, with accounting, the limits of the user's associations."""
        return program(__name__, "survey.sh")

    def parse_survey(self, output: str) -> Survey:
        """Their output: the configuration, then lines with the prefixes of the script."""
        config = {
            name.strip(): value.strip()
            for name, equals, value in (x.partition("=") for x in output.splitlines())
            if equals
        }
        version = config.get("SLURM_VERSION", "")
        if not version:
            return Survey(version="", trouble=output.strip() or "no answer")
        lines = [line.split("|") for line in output.splitlines()]
        limits = {name: config[name] for name in _LIMITS if name in config}
        for _, account, partition, *values in (line for line in lines if line[0] == "assoc" and len(line) == 6):
            known = [f"{name} {value}" for name, value in zip(_ASSOCIATION, values, strict=True) if value]
            where = f"account {account}{f', partition {partition}' if partition else ''}"
            limits[where] = ", ".join(known) or "no limits of its own"
        return Survey(
            version=version,
            old=tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < _OLDEST,
            accounting=config.get("AccountingStorageType", "") not in _NO_ACCOUNTING,
            arrays=limits.get("MaxArraySize") != "0",
            limits=limits,
            partitions=_partitions([line[1:] for line in lines if line[0] == "part" and len(line) == 9]),
        )


def _partitions(lines: Sequence[Sequence[str]]) -> tuple[Partition, ...]:
    """From sinfo's lines: a partition has a line for each state and each kind of its nodes."""
    found: dict[str, Partition] = {}
    for name, up, limit, nodes, state, cpus, memory, gres in lines:
        bare = name.rstrip("*")
        count = int(nodes) if nodes.isdecimal() else 0
        usable = count if state.startswith(_USABLE) and not state.endswith("*") else 0
        before = found.get(bare)
        found[bare] = (
            before._replace(nodes=before.nodes + count, usable=before.usable + usable)
            if before
            else Partition(bare, name.endswith("*"), up == "up", limit, count, usable, cpus, memory, gres)
        )
    return tuple(found.values())


def _dependency(request: Request) -> list[str]:
    """Without --kill-on-invalid-dep, a dependent of a failed job would stay pending forever."""
    if not request.dependencies:
        return []
    terms = [
        ":".join((item.kind, *(SlurmScheduler.split_id(id_)[0] for id_ in item.ids))) for item in request.dependencies
    ]
    return [f"--dependency={','.join(terms)}", "--kill-on-invalid-dep=yes"]
