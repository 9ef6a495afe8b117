"""The scheduler seam: `Scheduler` builds commands as text and parses what they print.

A scheduler runs nothing; `slurm.schedulers.client` runs its commands over a transport.
"""

from __future__ import annotations

import enum
import re
import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from slurm.schedulers.ranges import numbers, ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.options import Options
    from slurm.protocol import Block, Origin
    from slurm.protocol.states import JobState

__all__ = ["numbers", "ranges"]  # re-exported: a scheduler needs them with the rest

_BELONGS = """\
failed=0
belongs() {
    key=$1; shift
    output=$("$@" 2>&1); status=$?
    printf '%s' "$output" | tr -d '\\n\\t' | grep -q -F -e "$key" && return
    [ "$status" -eq 0 ] || { printf '%s\\n' "$output" >&2; failed=1; }
    return 1
}"""

LAST_BLOCK = "__LAST_BLOCK__"
"""Stands in a dependency for the id of the block that is queued just before, which isn't known yet."""
LAST_CLUSTER = "__LAST_CLUSTER__"
"""Stands for the cluster that the same id names; an argument that has it is left out where the id names none."""


class Site(NamedTuple):
    """What a scheduler may need to know about the machine where its commands run."""

    python: str
    runner: str
    """The path of the runner's zip."""


class Dependency(NamedTuple):
    """Jobs to wait for: `kind` is sbatch's word (afterok, afternotok, afterany, aftercorr)."""

    kind: str
    ids: tuple[str, ...]
    """Ids of whole blocks, or of elements as `Scheduler.element_id` gives them."""
    clusters: frozenset[str] = frozenset()
    """The clusters that gave the ids, where they are known."""


@dataclass(frozen=True)
class Request:
    """One block of a submission, to be queued."""

    script: str
    comment: str
    log: str
    """The path of an element's log, with `%a` for the array task and `%%` for a per cent sign."""
    block: Block
    options: Options
    dependencies: tuple[Dependency, ...] = ()
    waits: bool = False
    """Whether the job mostly waits for jobs of its own: a workflow."""
    cluster: str = ""
    """The cluster of the jobs that it waits for, if its options allow several clusters: it must run there, too."""

    @property
    def arguments(self) -> list[str]:
        """The script's arguments: its first element, and the number of earlier attempts if there were any."""
        return [str(self.block.first), *([str(self.block.attempts)] if self.block.attempts else [])]


class Failure(enum.Enum):
    """What a submit command that printed no id means for its job."""

    REFUSED = "refused"
    """The scheduler rejects the job. Nothing is queued."""
    UNEXPLAINED = "unexplained"
    """The scheduler, or a plugin of the site, rejected it without a reason. A refusal if the job isn't in the queue."""
    FULL = "full"
    """Nothing is queued: the user has as many jobs as allowed."""
    LATER = "later"
    """Nothing is queued, and the scheduler may accept the same job later."""
    UNKNOWN = "unknown"
    """The job may be queued now or soon."""


class Report(NamedTuple):
    """What a scheduler reports about some array tasks of one of its ids."""

    id: str
    tasks: Sequence[int] | None
    """None: all of them."""
    state: JobState
    word: str
    """The scheduler's own word for the state."""
    node: str
    reason: str
    """The scheduler's own words for why; shown to the user, never interpreted."""
    exit_code: int | None = None
    signal: int | None = None
    """The number of the signal that ended the job, 0 for none; None if the scheduler doesn't report it."""
    dependency_failed: bool = False
    """Whether the job can never run, because a job that it waits for failed."""
    comment: str = ""
    script: str = ""
    """The path of the job's script, or the command line that submitted it; see `slurm.schedulers.marks`."""
    own: bool = True
    """Whether the job is the user's own, as far as the scheduler reports it."""
    submitted: float | None = None
    """When it was submitted, in seconds since the epoch, where the scheduler reports it."""


class Target(NamedTuple):
    """Array tasks of a job to cancel, provided that the job belongs to the submission `key`."""

    id: str
    tasks: Sequence[int] | None
    """None: all of them."""
    key: str


class Partition(NamedTuple):
    """A part of a cluster that jobs can be sent to."""

    name: str
    default: bool
    up: bool
    """Whether it accepts and starts jobs."""
    time_limit: str
    """In the scheduler's words."""
    nodes: int
    usable: int
    """The number of its nodes that are neither down nor drained."""
    cpus: str
    memory: str
    """Processors and megabytes of a node."""
    gres: str


class Survey(NamedTuple):
    """What a scheduler is and can do at one site, for the doctor."""

    version: str
    """Empty if it doesn't answer; then `trouble` says why."""
    trouble: str = ""
    old: bool = False
    """Whether it is older than any version that its class supports."""
    shared: bool = True
    """Whether jobs run on other machines than commands, which must then see the same files."""
    accounting: bool | None = None
    """Whether finished jobs are remembered; None if the scheduler has no accounting at all."""
    arrays: bool = True
    """Whether it accepts job arrays."""
    limits: Mapping[str, str] = {}
    """By the scheduler's own names."""
    partitions: Sequence[Partition] = ()


class Scheduler(ABC):
    """The commands of one scheduler, and parsers of their output.

    A new scheduler defines the abstract methods; everything else has a default. A command is an argument list, a script
    is shell text (sh). An empty command means that the scheduler cannot do that. A job id is opaque text outside this
    class: only its methods compose or take apart ids.
    """

    name: ClassVar[str]
    patience: ClassVar[tuple[float, float]] = (2.0, 30.0)
    """Seconds between two status queries while jobs wait or run: at first, and at most."""
    launcher: ClassVar[Sequence[str]] = ()
    """A command prefix that starts one process for each task of a job, with the variables of srun(1), and ends all
    of them when one fails. Empty: the runner starts SLURM_NTASKS ranks itself."""
    needs: Sequence[str] = ()
    """Names on PATH, or paths, that its commands need. Looked for where a workflow runs in a container."""
    id_form: ClassVar[str] = "[0-9]+"
    """The form of an id, as an extended regular expression for both sed and Python."""
    cluster_suffix: ClassVar[str] = ""
    """A shell pattern for the end of an id that names its cluster; dependencies leave that out."""
    end_signal: ClassVar[str] = "TERM"
    """The signal by which it ends a job."""

    def __init__(self, site: Site) -> None:
        self.site = site

    # Ids.

    @classmethod
    def element_id(cls, id_: str, task: int) -> str:
        """The id of one array task of a job."""
        return f"{id_}_{task}"

    @classmethod
    def split_id(cls, id_: str) -> tuple[str, str]:
        """Split an id into the id on its cluster and the name of that cluster; "" if it names none."""
        return id_, ""

    # Submitting.

    @abstractmethod
    def directives(self, options: Options, *, tag: str, log: str, block: Block) -> Sequence[str]:
        """The lines at the top of a script that ask for `options`, and make it the array of `block`.

        Shell lines may follow them, for example to export the variables of Slurm that the script reads.
        """

    @abstractmethod
    def submit_command(self, request: Request) -> Sequence[str]:
        """The command that queues a block and prints its id on a line of its own, among other output if need be.

        If the block has a name, the request's options replace those in the script.
        """

    def parse_submit(self, output: str) -> list[str]:
        """The lines of the output that are ids."""
        return [line for line in map(str.strip, output.splitlines()) if re.fullmatch(self.id_form, line)]

    def parse_failure(self, message: str) -> Failure:
        """What the output of a submit command that printed no id means. UNKNOWN for a message that isn't known."""
        del message
        return Failure.UNKNOWN

    # Asking.

    @abstractmethod
    def status_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """The command that reports the states of all elements of `ids`; without ids, of all the user's jobs.

        `cluster`, here and below, names the cluster that gave the ids, if it isn't the one where commands run.
        """

    @abstractmethod
    def parse_status(self, output: str) -> Iterable[Report] | None:
        """Reports from the output; None if it is incomplete. Ids that the scheduler has forgotten are left out.

        Ids in reports don't name a cluster.
        """

    def ids_unknown(self, message: str) -> bool:
        """Whether a failed status or cancel command means only that jobs are unknown, or have ended.

        What it printed about other jobs counts.
        """
        del message
        return False

    def is_transient(self, message: str) -> bool:
        """Whether a failed query may succeed if it is repeated."""
        del message
        return False

    def find_command(self, clusters: str) -> Sequence[str]:
        """The command that lists the user's jobs with the marks of their submissions.

        `clusters` is the option of that name; if it is empty, the clusters that jobs go to by default.
        """
        del clusters
        return self.status_command([])

    def parse_find(self, output: str) -> Iterable[tuple[str, str]] | None:
        """Ids and marks from the output; a mark is a comment or the tag alone. None if the output is incomplete."""
        reports = self.parse_status(output)
        return None if reports is None else [(report.id, report.comment) for report in reports if report.own]

    def accounting_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """The command that reports, from the accounting, how elements of ids ended that the scheduler has forgotten."""
        del ids, cluster
        return ()

    def parse_accounting(self, output: str) -> Iterable[Report]:
        """Reports from the output, oldest first."""
        del output
        return ()

    def accounting_missing(self, message: str) -> bool:
        """Whether the output of the accounting command means that the site has no accounting at all."""
        del message
        return False

    # Changing.

    @abstractmethod
    def cancel_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """The command that cancels jobs and elements."""

    def cancel_script(self, targets: Sequence[Target], *, cluster: str = "") -> str:
        """A script that cancels each target whose status shows the key of its submission.

        A scheduler that lost its state gives ids again, so an id alone doesn't say whose job it is. The status is
        searched without its line breaks, because some commands wrap long lines.
        """
        lines = []
        for id_, tasks, key in targets:
            ids = [id_] if tasks is None else [self.element_id(id_, task) for task in tasks]
            status = shlex.join(self.status_command([id_], cluster=cluster))
            cancel = shlex.join(self.cancel_command(ids, cluster=cluster))
            lines.append(f"belongs {shlex.quote(key)} {status} && {{ {cancel} || failed=1; }}")
        return "\n".join([_BELONGS, *lines, "exit $failed", ""])

    def requeue_command(self, id_: str) -> Sequence[str]:
        """The command that makes a running element run again from its start under its id."""
        del id_
        return ()

    # The site.

    def limits_command(self) -> Sequence[str]:
        """The command that prints the scheduler's limits, and which scheduler it is."""
        return ["true"]

    def parse_max_array_size(self, output: str) -> int:
        """The number of elements that one array may have, counted from 0; 0 if there are no arrays."""
        del output
        return 0

    def parse_origin(self, output: str) -> Origin | None:
        """Which scheduler this is, from the output of the command for limits or status; None if it doesn't say."""
        del output
        return None

    def parse_clusters(self, output: str, options: Options) -> Sequence[str]:
        """The clusters where a job with such options may go, from the output of the command for limits."""
        del output, options
        return ()

    def submit_limits_command(self) -> Sequence[str]:
        """The command that prints how many jobs the user may have queued."""
        return ()

    def parse_submit_limits(self, output: str, options: Options) -> int | None:
        """The number of elements that may be queued where jobs with such options go; None if there is no limit."""
        del output, options
        return None

    def queued_command(self) -> Sequence[str]:
        """The command that prints a line for each element that the user has in the queue."""
        return ()

    def survey_script(self) -> str:
        """A script that prints what the scheduler is and can do."""
        looks = (f"command -v {shlex.quote(name)} > /dev/null || echo {shlex.quote(name)}" for name in self.needs)
        return "\n".join(["echo missing:", *looks])

    def parse_survey(self, output: str) -> Survey:
        """What the scheduler is and can do, from the output and errors of the script."""
        _, found, missing = output.partition("missing:")
        if not found or missing.strip():
            return Survey(version="", trouble=f"commands not found: {' '.join(missing.split())}" if found else output)
        return Survey(version="unknown")


def ntasks(asked: Callable[[str], object]) -> int:
    """The least number of tasks of a job; `asked` gives the options by their names with `_` (sbatch(1))."""
    if asked("ntasks"):
        return int(str(asked("ntasks")))
    nodes = str(asked("nodes") or 1).replace(",", "-").partition("-")[0]
    return (int(nodes) if nodes.isdecimal() else 1) * int(str(asked("ntasks_per_node") or 1))


def tag(key: str, block: Block) -> str:
    """The first word of a block's comment, by which it is found again: the submission's key, and which block."""
    return key + (f"+{block.first}" if block.first else "") + (f"~{block.name}" if block.name else "")
