"""SlurmScheduler: sbatch, squeue, scancel and scontrol, as in their manual pages from 20.11 to 26.05."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.protocol import Origin
from slurm.protocol.shell import program
from slurm.schedulers import directives, federation, offers, refusals, sbatch
from slurm.schedulers.slurm_jobs import SlurmJobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.options import Options
    from slurm.protocol import Block
    from slurm.schedulers.base import Failure, Request
    from slurm.schedulers.survey import Survey

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
        """Run sbatch."""
        return sbatch.command(request)

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
        """Run sinfo, and scontrol or sacctmgr for the possible values of some options."""
        return ["sh", "-c", program(__name__, "offers.sh"), "sh", cluster, *about]

    def parse_offers(self, output: str) -> str:
        """Name the possible values of the refused options, the partitions, and the size of the largest node."""
        return offers.parse([line.split("|") for line in output.splitlines()])

    def survey_script(self) -> str:
        """Run scontrol, sinfo and, with accounting, sacctmgr for the limits of the user's associations."""
        return program(__name__, "survey.sh")

    def parse_survey(self, output: str) -> Survey:
        """Parse the configuration, then lines with the prefixes of the script."""
        from slurm.schedulers import slurm_survey  # noqa: PLC0415 - only for the doctor

        return slurm_survey.parse(output)
