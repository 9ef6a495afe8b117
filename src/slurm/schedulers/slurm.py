"""SlurmScheduler: sbatch, squeue, scancel, scontrol (their manual pages, 20.11 to 25.05)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.protocol import JOBS, SCRIPT, Block, Origin
from slurm.schedulers import directives, refusals, slurm_jobs
from slurm.schedulers.base import LAST_BLOCK, LAST_CLUSTER, Partition, Survey, tag
from slurm.schedulers.slurm_jobs import CLEAN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.options import Options
    from slurm.schedulers.base import Failure, Report, Request, Site, Target

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
"""What would change how a script is queued, where its output goes, or what sbatch's exit status means."""

_CLUSTER_NAME = re.compile(r"^ClusterName\s*=\s*([\w.-]+)$", re.MULTILINE)
_EXPORTED = re.compile(r"^clusters=(.+)$", re.MULTILINE)
_LIMITS_COMMAND = f"""\
echo "clusters=${{SLURM_CLUSTERS:-${{SBATCH_CLUSTERS-}}}}"
{CLEAN}
exec scontrol show config
"""

_SUBMIT_LIMITS = f"""\
{CLEAN}
me=$(id -un)
sacctmgr --noheader --parsable2 show assoc where user="$me" format=account,partition,maxsubmit,grpsubmit |
    sed 's/^/assoc|/'
sacctmgr --noheader --parsable2 show qos format=name,maxsubmitpu,maxsubmitpa,grpsubmit | sed 's/|/||/; s/^/qos|/'
"""

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

_FIND = f"""\
clusters=${{1:-${{SLURM_CLUSTERS:-${{SBATCH_CLUSTERS-}}}}}}
{CLEAN}
exec squeue --states=all --me --format='%F|%k|%o' ${{clusters:+--clusters="$clusters"}}
"""
"""sbatch reads both variables, squeue only the first; sbatch(1), squeue(1)."""

_COMMAND = re.compile(rf".*/{JOBS}/(?P<key>[^/]+/[^/]+)/{re.escape(SCRIPT)} (?P<first>\d+)")
"""The command of a submission's own block. Without arguments it is a script that somebody queued by hand."""

_SURVEY = f"""\
{CLEAN}
for name in sbatch squeue scancel scontrol; do
    command -v $name > /dev/null || {{ echo "$name: command not found"; exit; }}
done
config=$(timeout 30 scontrol show config 2>&1); status=$?
echo "$config"
[ $status -eq 0 ] || exit
sinfo --noheader --format='part|%P|%a|%l|%D|%T|%c|%m|%G'
if echo "$config" | grep -q '^AccountingStorageType *= *accounting_storage/slurmdbd'; then
    timeout 10 sacctmgr --noheader --parsable2 show assoc user="$(id -un)" \
        format=Account,Partition,MaxJobs,MaxSubmit,MaxWall | sed 's/^/assoc|/'
fi
"""

_OLDEST = (20, 11)
_LIMITS = ("MaxArraySize", "MaxJobCount", "MinJobAge", "DefMemPerNode", "DefMemPerCPU", "EnforcePartLimits")
_ASSOCIATION = ("MaxJobs", "MaxSubmit", "MaxWall")
_NO_ACCOUNTING = ("", "(null)", "accounting_storage/none")
_USABLE = ("idle", "mix", "alloc", "comp", "resv", "plan", "power")
"""How sinfo(1)'s words for the states of nodes that jobs may get begin."""

_DEFAULT_MAX_ARRAY_SIZE = 1001  # slurm.conf(5)


class SlurmScheduler:
    """Slurm, by its commands."""

    name = "slurm"
    patience = (2.0, 30.0)
    # What the setup has exported, and no limit on how long ranks may outlive the first, whatever the site's or the
    # user's own defaults for a step.
    launcher: Sequence[str] = ("srun", "--kill-on-bad-exit=1", "--wait=0", "--export=ALL")
    needs: Sequence[str] = ("env", "sbatch", "squeue", "scancel", "scontrol")
    id_form = "[0-9]+(;[A-Za-z0-9_.-]+)?"

    def __init__(self, site: Site) -> None:
        del site

    def directives(self, options: Options, *, tag: str, log: str, block: Block) -> Sequence[str]:
        """#SBATCH lines."""
        return directives.lines(options, tag=tag, log=log, block=block)

    def submit(self, request: Request) -> Sequence[str]:
        """Sbatch. Its SBATCH_ variables would go before the script's own lines, so those asked for here are unset."""
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
            *([f"--clusters={where}"] if (where := _cluster(request)) else []),
            *_dependency(request),
            request.script,
            *request.arguments,
        ]

    def query(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Squeue."""
        return slurm_jobs.query(ids, cluster)

    def reports(self, output: str) -> Iterable[Report] | None:
        """What squeue printed."""
        return slurm_jobs.reports(output)

    def knows_none(self, words: str) -> bool:
        """Squeue says so in these words when it was asked for one id only."""
        return "Invalid job id specified" in words

    def history(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Sacct."""
        return slurm_jobs.history(ids, cluster)

    def histories(self, output: str) -> Iterable[Report]:
        """What sacct printed."""
        return slurm_jobs.histories(output)

    def has_no_history(self, words: str) -> bool:
        """What sacct says where AccountingStorageType is none, or where it isn't installed."""
        return "accounting storage is disabled" in words or "not found" in words

    def passing(self, words: str) -> bool:
        """What the commands say when slurmctld is down, busy, or full for now; the last three take new jobs later."""
        return any(passing in words for passing in _PASSING)

    def failure(self, words: str) -> Failure:
        """What sbatch says."""
        return refusals.failure(words)

    def submit_limits(self) -> Sequence[str]:
        """Sacctmgr, of the user's associations and of each QOS."""
        return ["sh", "-c", _SUBMIT_LIMITS]

    def most_queued(self, output: str, options: Options) -> int | None:
        """The least that counts for the options: other partitions, accounts and QOS are passed over."""
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

    def queued(self) -> Sequence[str]:
        """Squeue, a line for each element."""
        return ["sh", "-c", f"{CLEAN}\nexec squeue --noheader --me --array --format=%i"]

    def find(self, clusters: str) -> Sequence[str]:
        """Squeue, of the user's own jobs in any state, with their comments and commands.

        With its header, which tells an empty answer from none.
        """
        return ["sh", "-c", _FIND, "sh", clusters]

    def found(self, output: str) -> Iterable[tuple[str, str]] | None:
        """What it printed; every array has a line for each of its parts. A plugin of the site may change a comment."""
        if not output.endswith("\n") or "|" not in output:  # cut off, or not even a header
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

    def cancel(self, targets: Sequence[Target], *, cluster: str = "") -> str:
        """Squeue, then scancel of what is the submissions' own."""
        return slurm_jobs.cancel(targets, cluster)

    def requeue(self, id_: str) -> Sequence[str]:
        """Scontrol; some sites have none on their nodes, and some refuse it there."""
        return ["sh", "-c", f'{CLEAN}\nexec scontrol requeue "$1"', "sh", id_]

    def limits(self) -> Sequence[str]:
        """The controller's configuration, and the clusters where jobs go that don't say where."""
        return ["sh", "-c", _LIMITS_COMMAND]

    def origin(self, output: str) -> Origin | None:
        """By its ClusterName."""
        name = _CLUSTER_NAME.search(output)
        return Origin(cluster=name[1]) if name else None

    def clusters(self, output: str, options: Options) -> Sequence[str]:
        """By `--clusters`, or else by the variables of sbatch(1)."""
        asked = options.get("clusters") or options.sbatch.get("--clusters") or options.sbatch.get("-M")
        if not asked and (exported := _EXPORTED.search(output)):
            asked = exported[1]
        return [name for name in str(asked or "").split(",") if name]

    def max_array_size(self, output: str) -> int:
        """MaxArraySize: one more than the largest *index* (slurm.conf(5)), so as many elements from 0; 0: no arrays."""
        for line in output.splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "MaxArraySize":
                return int(value)
        return _DEFAULT_MAX_ARRAY_SIZE

    def survey(self) -> str:
        """Scontrol, sinfo and, where there is accounting, the limits of the user's associations."""
        return _SURVEY

    def surveyed(self, output: str) -> Survey:
        """What they printed: the configuration, then lines that begin with a word of ours."""
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
            told = [f"{name} {value}" for name, value in zip(_ASSOCIATION, values, strict=True) if value]
            where = f"account {account}{f', partition {partition}' if partition else ''}"
            limits[where] = ", ".join(told) or "no limits of its own"
        return Survey(
            version=version,
            old=tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < _OLDEST,
            accounting=config.get("AccountingStorageType", "") not in _NO_ACCOUNTING,
            arrays=limits.get("MaxArraySize") != "0",
            limits=limits,
            partitions=_partitions([line[1:] for line in lines if line[0] == "part" and len(line) == 9]),
        )


def _partitions(lines: Sequence[Sequence[str]]) -> tuple[Partition, ...]:
    """From sinfo's lines, of which each partition has one for each state of its nodes and each kind of them."""
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


def _cluster(request: Request) -> str:
    """Where it must go: Slurm has no dependencies between clusters."""
    if not request.cluster and any(LAST_BLOCK in item.ids for item in request.dependencies):
        return LAST_CLUSTER
    return request.cluster


def _dependency(request: Request) -> list[str]:
    """A dependent of a failed job would pend for ever without --kill-on-invalid-dep."""
    if not request.dependencies:
        return []
    terms = [":".join((item.kind, *(_number(id_) for id_ in item.ids))) for item in request.dependencies]
    return [f"--dependency={','.join(terms)}", "--kill-on-invalid-dep=yes"]


def _number(id_: str) -> str:
    """`sbatch --parsable` prints "12;other" where the job went to another cluster."""
    return id_.partition(";")[0]
