"""Scheduler: the interface of all schedulers. It builds commands and parses their output.

A scheduler runs nothing; `slurm.schedulers.client` runs its commands over a transport.
"""

from __future__ import annotations

import enum
import re
import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from slurm.protocol.ranges import numbers, ranges
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from slurm.options import Options
    from slurm.protocol import Block, Origin
    from slurm.protocol.states import JobState
    from slurm.schedulers.survey import Survey

__all__ = ["numbers", "ranges"]  # re-exported: a scheduler needs them with the rest

LAST_BLOCK = "__LAST_BLOCK__"
"""Placeholder in a dependency for the id of the previous block, which is not known yet."""
LAST_CLUSTER = "__LAST_CLUSTER__"
"""Placeholder for the cluster that this id names. If it names none, an argument with the placeholder is left out."""


def id_of_link(number: int) -> str:
    """Return the placeholder for the id of the job of link `number`, which the same command queues earlier."""
    return f"__LINK_{number}__"


class Site(NamedTuple):
    """Facts about the machine where a scheduler's commands run."""

    python: str
    runner: str
    """The path of the runner's zip."""


class Dependency(NamedTuple):
    """Jobs to wait for. `kind` is as for sbatch: afterok, afternotok, afterany or aftercorr."""

    kind: str
    ids: tuple[str, ...]
    """Ids of whole blocks, or of elements as `Scheduler.element_id` gives them."""
    clusters: frozenset[str] = frozenset()
    """The clusters that assigned the ids, if known."""


@dataclass(frozen=True)
class Request:
    """One block of a submission to queue."""

    script: str
    comment: str
    log: str
    """The path of an element's log, with `%a` for the array task and `%%` for a per cent sign."""
    block: Block
    options: Options
    dependencies: tuple[Dependency, ...] = ()
    waits: bool = False
    """Whether the job is a workflow, which mostly waits for its own jobs."""
    cluster: str = ""
    """The cluster where the job must run: that of its dependencies, if its options allow several clusters."""

    @property
    def arguments(self) -> list[str]:
        """The script's arguments: its first element and, if there were any, the number of earlier attempts."""
        return [str(self.block.first), *([str(self.block.attempts)] if self.block.attempts else [])]


class Failure(enum.Enum):
    """What a submit command that printed no id means for its job."""

    REFUSED = "refused"
    """The scheduler rejects the job. Nothing is queued."""
    UNEXPLAINED = "unexplained"
    """The scheduler or a plugin of the site rejected it without a reason: refused, if the job is not in the queue."""
    FULL = "full"
    """Nothing is queued, because the user has as many jobs as allowed."""
    LATER = "later"
    """Nothing is queued, and the scheduler may accept the same job later."""
    UNKNOWN = "unknown"
    """The job may be queued now or soon."""


class Report(NamedTuple):
    """The scheduler's report about some array tasks of one id."""

    id: str
    tasks: Sequence[int] | None
    """None for all tasks."""
    state: JobState
    word: str
    """The scheduler's name of the state."""
    node: str
    reason: str
    """The scheduler's reason for the state; shown to the user, never interpreted."""
    exit_code: int | None = None
    signal: int | None = None
    """The number of the signal that ended the job, 0 for none; None if the scheduler does not report it."""
    dependency_failed: bool = False
    """Whether the job can never run because a job that it waits for failed."""
    comment: str = ""
    script: str = ""
    """The path of the job's script, or the command line that submitted it; see `slurm.schedulers.marks`."""
    own: bool = True
    """False only if the scheduler reports that the job is another user's."""
    submitted: float | None = None
    """The submit time in seconds since the epoch, if the scheduler reports it."""
    explanation: str = ""
    """The reason in words, for a reason that the scheduler's class knows."""
    stuck: bool = False
    """Whether the reason shows that the job cannot start as it was submitted."""

    @property
    def why(self) -> str:
        """The state and the reason, with its explanation: "PENDING (Resources: it waits for free resources)"."""
        words = ": ".join(filter(None, (self.reason, self.explanation)))
        return f"{self.state} ({words})" if words else f"{self.state}"


class Target(NamedTuple):
    """Array tasks of a job to cancel, hold or release, provided that the job belongs to the submission `key`."""

    id: str
    tasks: Sequence[int] | None
    """None for all tasks."""
    key: str


class Scheduler(ABC):
    """The commands of one scheduler, and parsers of their output.

    A new scheduler defines the abstract methods; everything else has a default. A command is an argument list, a script
    is shell text (sh). An empty command means that the scheduler does not support the operation. Job ids are opaque
    outside this class: only its methods compose and split them.
    """

    name: ClassVar[str]
    patience: ClassVar[tuple[float, float]] = (2.0, 30.0)
    """The first and the longest interval in seconds between two status queries."""
    kill_wait: ClassVar[float] = 30.0
    """Seconds between SIGTERM and SIGKILL when it ends a job: Slurm's default for KillWait, slurm.conf(5)."""
    accounting_timeout: ClassVar[float] = 60.0
    """Seconds for the accounting command. If it takes longer, the accounting counts as down for a while."""
    launcher: ClassVar[Sequence[str]] = ()
    """A command prefix that starts one process for each task of a job, with the variables of srun(1), and ends all
    of them when one fails. If it is empty, the runner starts SLURM_NTASKS ranks itself."""
    needs: Sequence[str] = ()
    """Programs or paths that its commands need. A workflow in a container checks that they are there."""
    id_form: ClassVar[str] = "[0-9]+"
    """The form of an id, as an extended regular expression for both sed and Python."""
    cluster_suffix: ClassVar[str] = ""
    """A shell pattern for the part of an id that names its cluster; it is removed in dependencies."""
    end_signal: ClassVar[str] = "TERM"
    """The signal that it sends to end a job."""
    away: ClassVar[Sequence[str]] = ()
    """Parts of messages of commands that could not reach the scheduler: such a command has done nothing."""
    full: ClassVar[Sequence[str]] = ()
    """Parts of messages of a submit command if the user has as many jobs as allowed."""
    rejections: ClassVar[Sequence[str]] = ()
    """Parts of messages of a submit command after which nothing is queued."""

    def __init__(self, site: Site) -> None:
        self.site = site

    # Ids.

    @classmethod
    def element_id(cls, id_: str, task: int) -> str:
        """Return the id of one array task of a job."""
        return f"{id_}_{task}"

    @classmethod
    def split_id(cls, id_: str) -> tuple[str, str]:
        """Split an id into the id on its cluster and the name of that cluster; "" if it names none."""
        return id_, ""

    @classmethod
    def is_federated(cls, id_: str) -> bool:
        """Whether all clusters of a federation know the job by this id. They may move it to another one of them."""
        del id_
        return False

    # Submitting.

    @abstractmethod
    def directives(self, options: Options, *, tag: str, log: str, block: Block) -> Sequence[str]:
        """Return the lines at the top of a script that request `options` and make it the array of `block`.

        Shell lines may follow them, for example to export the variables of Slurm that the script reads.
        """

    @abstractmethod
    def submit_command(self, request: Request) -> Sequence[str]:
        """Return the command that queues a block and prints its id on a separate line; other output is allowed.

        If the block has a name, the request's options replace those in the script.
        """

    def parse_submit(self, output: str) -> list[str]:
        """Return the lines of the output that are ids."""
        return [line for line in map(str.strip, output.splitlines()) if re.fullmatch(self.id_form, line)]

    def parse_failure(self, message: str) -> Failure:
        """Classify the output of a submit command that printed no id; UNKNOWN for an unknown message."""
        if _has(message, self.away):
            return Failure.LATER
        if _has(message, self.full):
            return Failure.FULL
        return Failure.REFUSED if _has(message, self.rejections) else Failure.UNKNOWN

    @classmethod
    def launch(cls, ntasks: int, mpi: str = "") -> Sequence[str]:
        """Return the words that, put before an MPI command, start it once for each task of a job, in one world.

        `mpi` is the option of that name: the interface between launcher and MPI library; empty for the site's default.
        """
        del mpi
        return ["mpiexec", "-n", str(ntasks)]

    # Querying.

    @abstractmethod
    def status_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Return the command that reports the states of all elements of `ids`; without ids, of all the user's jobs.

        `cluster`, here and below, names the cluster that assigned the ids, if it is not the one where commands run.
        """

    @abstractmethod
    def parse_status(self, output: str) -> Iterable[Report] | None:
        """Parse reports; None if the output is incomplete. Ids that the scheduler has forgotten are left out.

        Ids in reports do not name a cluster.
        """

    def ids_unknown(self, message: str) -> bool:
        """Whether a status or cancel command failed only because jobs are unknown or have finished.

        Its output about other jobs is then used.
        """
        return False

    def is_transient(self, message: str) -> bool:
        """Whether a failed query may succeed if it is repeated."""
        return _has(message, self.away)

    def find_command(self, clusters: str) -> Sequence[str]:
        """Return the command that lists the user's jobs with the marks of their submissions.

        `clusters` is the option of that name; if it is empty, the default clusters of jobs are used.
        """
        return self.status_command([])

    def parse_find(self, output: str) -> Iterable[tuple[str, str]] | None:
        """Parse ids and marks; None if the output is incomplete. A mark is a comment, or just the tag in it."""
        reports = self.parse_status(output)
        return None if reports is None else [(report.id, report.comment) for report in reports if report.own]

    def accounting_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Return the command that reports from the accounting how elements of forgotten ids ended."""
        return ()

    def parse_accounting(self, output: str) -> Iterable[Report]:
        """Parse reports, oldest first."""
        return ()

    def accounting_missing(self, message: str) -> bool:
        """Whether the accounting command failed because the site has no accounting."""
        return False

    # Changing.

    @abstractmethod
    def cancel_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Return the command that cancels jobs and elements."""

    def cancel_script(self, targets: Sequence[Target], *, cluster: str = "") -> str:
        """Return a script that cancels each target whose status contains the key of its submission.

        A scheduler that lost its state assigns ids again, so an id alone does not identify a job.
        """
        return self._checked(targets, lambda ids: self.cancel_command(ids, cluster=cluster), cluster)

    def hold_command(self, ids: Sequence[str], *, release: bool = False, cluster: str = "") -> Sequence[str]:
        """Return the command that keeps pending jobs and elements from starting, or lets them start again.

        It changes only these elements of an array; running ones continue. Empty if single elements cannot be held.
        """
        return ()

    def hold_script(self, targets: Sequence[Target], *, release: bool = False, cluster: str = "") -> str:
        """Return a script that holds or releases targets that belong to their submissions; empty if unsupported."""
        if not self.hold_command([target.id for target in targets], release=release, cluster=cluster):
            return ""
        return self._checked(targets, lambda ids: self.hold_command(ids, release=release, cluster=cluster), cluster)

    def _checked(
        self, targets: Sequence[Target], command: Callable[[Sequence[str]], Sequence[str]], cluster: str
    ) -> str:
        """Return a script that runs a command for each target whose status contains the key of its submission."""
        lines = []
        for id_, tasks, key in targets:
            ids = [id_] if tasks is None else [self.element_id(id_, task) for task in tasks]
            status = shlex.join(self.status_command([id_], cluster=cluster))
            lines.append(f"belongs {shlex.quote(key)} {status} && {{ {shlex.join(command(ids))} || failed=1; }}")
        return "\n".join([program(__name__, "belongs.sh"), *lines, "exit $failed", ""])

    def requeue_command(self, id_: str) -> Sequence[str]:
        """Return the command that makes a running element run again from its start under its id."""
        return ()

    def inside_command(self, id_: str, argv: Sequence[str], *, terminal: bool, cluster: str = "") -> Sequence[str]:
        """Return the command that runs `argv`, on a terminal or not, in the allocation of a running element, if any."""
        return ()

    # The site.

    def limits_command(self) -> Sequence[str]:
        """Return the command that prints the scheduler's limits and identity."""
        return ["true"]

    def parse_max_array_size(self, output: str) -> int:
        """Parse the number of elements that one array from index 0 may have; 0 if there are no arrays."""
        return 0

    def parse_origin(self, output: str) -> Origin | None:
        """Parse the scheduler's identity from the output of the command for limits or status; None if it has none."""
        return None

    def parse_clusters(self, output: str, options: Options) -> Sequence[str]:
        """Parse the clusters where a job with these options may go, from the output of the command for limits."""
        return ()

    def submit_limits_command(self) -> Sequence[str]:
        """Return the command that prints how many jobs the user may queue."""
        return ()

    def parse_submit_limits(self, output: str, options: Options) -> int | None:
        """Parse the number of elements that may be queued with these options; None if there is no limit."""
        return None

    def queued_command(self) -> Sequence[str]:
        """Return the command that prints a line for each of the user's queued elements."""
        return ()

    def refused_options(self, message: str, options: Options) -> Sequence[str]:
        """Return the names of the options that a refusal is about, as far as its message shows."""
        return ()

    def offers_command(self, cluster: str, about: Sequence[str] = ()) -> Sequence[str]:
        """Return one cheap command that prints what a cluster ("": the default) has, also for the options `about`."""
        return ()

    def parse_offers(self, output: str) -> str:
        """Return a line for users about what jobs may ask for; empty if unknown."""
        return ""

    def line_command(self, *, cluster: str = "") -> Sequence[str]:
        """Return a command that prints the waiting jobs of all users."""
        return ()

    def parse_line(self, output: str, id_: str) -> str:
        """Return the position of a job among the waiting jobs, in words; empty if it is unknown."""
        return ""

    def survey_script(self) -> str:
        """Return the script whose output `parse_survey` reads."""
        checks = (f"command -v {shlex.quote(name)} > /dev/null || echo {shlex.quote(name)}" for name in self.needs)
        return "\n".join(["echo missing:", *checks])

    def parse_survey(self, output: str) -> Survey:
        """Parse the output and errors of the survey script."""
        from slurm.schedulers.survey import Survey  # noqa: PLC0415 - only for the doctor

        _, found, missing = output.partition("missing:")
        if not found or missing.strip():
            return Survey(version="", trouble=f"commands not found: {' '.join(missing.split())}" if found else output)
        return Survey(version="unknown")


def _has(message: str, parts: Iterable[str]) -> bool:
    return any(part in message for part in parts)


def ntasks(option: Callable[[str], object]) -> int:
    """Return the minimum number of tasks of a job. `option` returns the value of an option by its name with `_`."""
    if option("ntasks"):
        return int(str(option("ntasks")))
    nodes = str(option("nodes") or 1).replace(",", "-").partition("-")[0]
    return (int(nodes) if nodes.isdecimal() else 1) * int(str(option("ntasks_per_node") or 1))
