"""SlurmScheduler: sbatch, squeue, scancel and scontrol, as in their manual pages from 20.11 to 25.05."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.protocol import Origin
from slurm.protocol.shell import program
from slurm.schedulers import directives, federation, offers, refusals
from slurm.schedulers.base import LAST_BLOCK, LAST_CLUSTER
from slurm.schedulers.slurm_jobs import SlurmJobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.options import Options
    from slurm.protocol import Block
    from slurm.schedulers.base import Failure, Request
    from slurm.schedulers.survey import Partition, Survey

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
_MAX_ARRAY_SIZE = re.compile(r"^\s*MaxArraySize\s*=\s*(\d+)", re.MULTILINE)
_TRANSIENT = (
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

_OLDEST = (20, 11)
_LIMITS = ("MaxArraySize", "MaxJobCount", "MinJobAge", "DefMemPerNode", "DefMemPerCPU", "EnforcePartLimits")
_ASSOCIATION = ("MaxJobs", "MaxSubmit", "MaxWall")
_NO_ACCOUNTING = ("", "(null)", "accounting_storage/none")
_USABLE = ("idle", "mix", "alloc", "comp", "resv", "plan", "power")
"""Prefixes of sinfo(1)'s states of nodes that can run jobs."""

_DEFAULT_MAX_ARRAY_SIZE = 1001  # slurm.conf(5)


class SlurmScheduler(SlurmJobs):
    """Submits jobs to Slurm and reads its limits. The commands about queued jobs are in `SlurmJobs`."""

    name = "slurm"
    # Override the defaults of site and user for steps: variables of the setup are exported, and ranks may outlive the
    # first one without a limit.
    launcher = ("srun", "--kill-on-bad-exit=1", "--wait=0", "--export=ALL")
    needs: Sequence[str] = ("env", "sbatch", "squeue", "scancel", "scontrol")
    id_form = "[0-9]+(;[A-Za-z0-9_.-]+)?"  # `sbatch --parsable` prints "12;other" for a job on another cluster
    cluster_suffix = ";*"
    accounting_timeout = 8.0  # sacct hangs for minutes when slurmdbd does

    @classmethod
    def launch(cls, ntasks: int, mpi: str = "") -> Sequence[str]:
        """Run srun, which takes the number of tasks from the job."""
        del ntasks
        return [*cls.launcher, *([f"--mpi={mpi}"] if mpi else [])]

    @classmethod
    def element_id(cls, id_: str, task: int) -> str:
        """Return for example "12_3", or "12_3;other"."""
        number, semicolon, cluster = id_.partition(";")
        return f"{number}_{task}{semicolon}{cluster}"

    @classmethod
    def split_id(cls, id_: str) -> tuple[str, str]:
        """Split at the semicolon."""
        number, _, cluster = id_.partition(";")
        return number, cluster

    @classmethod
    def is_federated(cls, id_: str) -> bool:
        """Recognize the number of a federation's cluster in the id."""
        return federation.has_id(id_)

    def directives(self, options: Options, *, tag: str, log: str, block: Block) -> Sequence[str]:
        """Return #SBATCH lines."""
        return directives.lines(options, tag=tag, log=log, block=block)

    def submit_command(self, request: Request) -> Sequence[str]:
        """Run sbatch. Unset the SBATCH_ variables of given options: they take precedence over the script's lines."""
        asked = [name for name, _ in request.options.set()]
        asked += [name.lstrip("-").replace("-", "_") for name in request.options.sbatch]
        asked += ["signal"] if "signal_lead" in asked else []
        unset = [*_ALWAYS_UNSET, *(f"SBATCH_{_INPUT_NAMES.get(name, name.upper())}" for name in asked)]
        unset += ["SBATCH_CLUSTERS", "SLURM_CLUSTERS"] if request.cluster or "clusters" in asked else []
        # Slurm has no dependencies between clusters.
        follows = any(LAST_BLOCK in dependency.ids for dependency in request.dependencies)
        cluster = request.cluster or (LAST_CLUSTER if follows else "")
        return [
            "env",
            *(word for name in unset for word in ("-u", name)),
            "sbatch",
            "--parsable",
            *directives.array(request.block, request.options),
            f"--output={request.log}",
            *directives.overrides(request),
            *([f"--clusters={cluster}"] if cluster else []),
            *_dependency(request),
            request.script,
            *request.arguments,
        ]

    def is_transient(self, message: str) -> bool:
        """Recognize messages of commands if slurmctld is down, busy or temporarily full."""
        return any(text in message for text in _TRANSIENT)

    def parse_failure(self, message: str) -> Failure:
        """Classify sbatch's message."""
        return refusals.parse_failure(message)

    def submit_limits_command(self) -> Sequence[str]:
        """Run sacctmgr for the user's associations and for each QOS."""
        return ["sh", "-c", program(__name__, "submit_limits.sh")]

    def parse_submit_limits(self, output: str, options: Options) -> int | None:
        """Return the smallest limit that applies to the options. Other partitions, accounts and QOS are ignored."""
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

    def limits_command(self) -> Sequence[str]:
        """Print the controller's configuration and the default clusters of jobs."""
        return ["sh", "-c", program(__name__, "limits.sh")]

    def parse_origin(self, output: str) -> Origin | None:
        """Read ClusterName, and the members of its federation."""
        name = _CLUSTER_NAME.search(output)
        return Origin(cluster=name[1], federation=federation.members(output) or None) if name else None

    def parse_clusters(self, output: str, options: Options) -> Sequence[str]:
        """Read the option `--clusters`, or else the variables of sbatch(1)."""
        asked = options.get("clusters") or options.sbatch.get("--clusters") or options.sbatch.get("-M")
        if not asked and (exported := _EXPORTED.search(output)):
            asked = exported[1]
        return [name for name in str(asked or "").split(",") if name]

    def parse_max_array_size(self, output: str) -> int:
        """Read MaxArraySize. It is one more than the largest *index* (slurm.conf(5)); 0 disables arrays."""
        found = _MAX_ARRAY_SIZE.search(output)
        return int(found[1]) if found else _DEFAULT_MAX_ARRAY_SIZE

    def refused_options(self, message: str, options: Options) -> Sequence[str]:
        """Read the messages of sbatch."""
        from slurm.schedulers import causes  # noqa: PLC0415 - only for an error message

        return causes.of_slurm(message, options)

    def offers_command(self, cluster: str, about: Sequence[str] = ()) -> Sequence[str]:
        """Run sinfo, and scontrol or sacctmgr for what some options choose among."""
        return ["sh", "-c", program(__name__, "offers.sh"), "sh", cluster, *about]

    def parse_offers(self, output: str) -> str:
        """Name what the refused options choose among, the partitions, and the size of the largest node."""
        return offers.parse([line.split("|") for line in output.splitlines()])

    def survey_script(self) -> str:
        """Run scontrol, sinfo and, with accounting, sacctmgr for the limits of the user's associations."""
        return program(__name__, "survey.sh")

    def parse_survey(self, output: str) -> Survey:
        """Parse the configuration, then lines with the prefixes of the script."""
        from slurm.schedulers.survey import Survey  # noqa: PLC0415 - only for the doctor

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
            federation=federation.members(output),
        )


def _partitions(lines: Sequence[Sequence[str]]) -> tuple[Partition, ...]:
    """Parse sinfo's lines: a partition has one for each state and each kind of its nodes."""
    from slurm.schedulers.survey import Partition  # noqa: PLC0415 - as above

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
    """Return options. Without --kill-on-invalid-dep, a dependent of a failed job would stay pending forever."""
    if not request.dependencies:
        return []
    terms = [
        ":".join((item.kind, *(SlurmScheduler.split_id(id_)[0] for id_ in item.ids))) for item in request.dependencies
    ]
    return [f"--dependency={','.join(terms)}", "--kill-on-invalid-dep=yes"]
