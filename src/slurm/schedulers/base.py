"""The scheduler seam: pure builders of commands, and pure parsers of what they print.

Nothing here runs anything; `slurm.controller` does, over a transport.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from slurm.schedulers.ranges import numbers, ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from slurm.options import Options
    from slurm.protocol import Block, Origin
    from slurm.protocol.states import JobState

__all__ = ["numbers", "ranges"]  # for schedulers, which need them with the rest

LAST_BLOCK = "__LAST_BLOCK__"
"""Stands in a dependency for the id of the block that is queued just before, which isn't known yet."""
LAST_CLUSTER = "__LAST_CLUSTER__"
"""Stands for the cluster that the same id names; an argument that has it is left out where the id names none."""


class Site(NamedTuple):
    """What a scheduler may need to know of the place where its commands run: a Python, and the runner's zip."""

    python: str
    runner: str


class Dependency(NamedTuple):
    """Jobs to wait for: `kind` is sbatch's word (afterok, afternotok, afterany, aftercorr)."""

    kind: str
    ids: tuple[str, ...]


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
    """Whether it does little but wait for jobs of its own: a workflow."""
    cluster: str = ""
    """The one cluster to which it must go, of those that its options allow: the one of the jobs that it waits for."""

    @property
    def arguments(self) -> list[str]:
        """What the script is given: its first element, and how many attempts there were before."""
        return [str(self.block.first), *([str(self.block.attempts)] if self.block.attempts else [])]


class Failure(enum.Enum):
    """What a submit command that printed no id says of its job."""

    REFUSED = "refused"
    """The scheduler does not take it, and nothing is queued."""
    UNEXPLAINED = "unexplained"
    """The scheduler, or a plugin of the site, said no without a reason: a refusal, if the job isn't in the queue."""
    FULL = "full"
    """Nothing is queued: the user may not have so many more jobs."""
    LATER = "later"
    """Nothing is queued, and the scheduler may take the same job later."""
    UNKNOWN = "unknown"
    """The job may be queued, or may be yet."""


class Report(NamedTuple):
    """What a scheduler says of some array tasks of one of its ids."""

    id: str
    tasks: Sequence[int] | None
    """None: all of them."""
    state: JobState
    word: str
    """The scheduler's own word for the state."""
    node: str
    reason: str
    exit: str = ""
    """The exit status and the signal, as "1:0", where the scheduler tells."""
    comment: str = ""
    script: str = ""
    """The path of the job's script, or the command line that submitted it; see `slurm.schedulers.marks`."""
    own: bool = True
    """Whether the job is the user's own, as far as the scheduler tells."""
    submitted: float | None = None
    """When it was submitted, in seconds since the epoch, where the scheduler tells."""


class Target(NamedTuple):
    """Array tasks of a job to cancel, if that is a job of the submission `key`."""

    id: str
    tasks: Sequence[int] | None
    """None: all of them."""
    key: str


class Partition(NamedTuple):
    """A part of a cluster that jobs may be sent to."""

    name: str
    default: bool
    up: bool
    """Whether it takes and starts jobs."""
    time_limit: str
    """In the scheduler's words."""
    nodes: int
    usable: int
    """How many of its nodes are neither down nor drained."""
    cpus: str
    memory: str
    """Of a node: processors, and megabytes."""
    gres: str


class Survey(NamedTuple):
    """What a scheduler is and can do at one place, for the doctor."""

    version: str
    """Empty if it doesn't answer; then `trouble` says why."""
    trouble: str = ""
    old: bool = False
    """Whether it is older than any that this class was written for."""
    shared: bool = True
    """Whether jobs run on other machines than commands, which must then see the same files."""
    accounting: bool | None = None
    """Whether ended jobs are remembered; None: it has nothing of the kind."""
    arrays: bool = True
    """Whether it takes job arrays."""
    limits: Mapping[str, str] = {}
    """By the scheduler's own names."""
    partitions: Sequence[Partition] = ()


class Scheduler(Protocol):
    """Commands of one scheduler. An id is what its submit command printed: opaque text."""

    name: str
    patience: tuple[float, float]
    """Seconds between two questions while jobs wait or run: at first, and at most."""
    launcher: Sequence[str]
    """The words that start the command after them once for each task of a job, with the variables of srun(1), and end
    all of these once one fails; empty where it has none, and the runner starts SLURM_NTASKS ranks itself."""
    needs: Sequence[str]
    """What its commands need where they run: names on PATH, or paths. Looked for where a workflow is in a container."""
    id_form: str
    """The form of an id, as an extended regular expression for both sed and Python."""

    def directives(self, options: Options, *, tag: str, log: str, block: Block) -> Sequence[str]:
        """The lines at the top of a script that ask for `options`, and make it the array of a block as it stands."""

    def submit(self, request: Request) -> Sequence[str]:
        """The command that queues a block, and prints its id on a line of its own, whatever else it prints.

        The options of a block that has a name go over those that stand in the script.
        """

    def query(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """The command that tells the states of all elements of all `ids`.

        `cluster`, here and below, names the cluster that gave the ids, where that isn't the one of the commands.
        """

    def reports(self, output: str) -> Iterable[Report] | None:
        """What the query printed; None if that isn't a whole answer. An id that the scheduler doesn't know isn't in it.

        Ids in reports are bare: without the name of a cluster.
        """

    def knows_none(self, words: str) -> bool:
        """Whether a failed query's words say that it knows none of the ids, rather than that it can't tell."""

    def history(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """The command that tells, from the accounting, how elements of ids ended that the scheduler has forgotten."""

    def histories(self, output: str) -> Iterable[Report]:
        """What it printed. An id that isn't accounted for isn't in it."""

    def has_no_history(self, words: str) -> bool:
        """Whether what the command said means that there is no accounting at all, rather than none now."""

    def passing(self, words: str) -> bool:
        """Whether the words of a question that failed tell of a trouble that passes, so that it may be asked again."""

    def failure(self, words: str) -> Failure:
        """What the output of a submit command that printed no id says of the job. UNKNOWN for words it doesn't know."""

    def submit_limits(self) -> Sequence[str]:
        """The command that tells how many jobs the user may have queued."""

    def most_queued(self, output: str, options: Options) -> int | None:
        """From what it printed: how many elements, where jobs with such options go; None if nothing is told."""

    def queued(self) -> Sequence[str]:
        """The command that prints a line for each element that the user has in the queue."""

    def find(self, clusters: str) -> Sequence[str]:
        """The command that lists the user's jobs with the marks of their submissions.

        `clusters` is the option of that name; without it, the clusters that a submission goes to by default are meant.
        """

    def found(self, output: str) -> Iterable[tuple[str, str]] | None:
        """From what it printed: ids and marks, each a comment or the tag alone. None if it is no answer."""

    def cancel(self, targets: Sequence[Target], *, cluster: str = "") -> str:
        """Shell lines (sh) that look at jobs, and cancel the tasks of those that are what their targets say."""

    def requeue(self, id_: str) -> Sequence[str]:
        """The command that has a running array task, "12_3", run again from its start under its id."""

    def limits(self) -> Sequence[str]:
        """The command that tells the scheduler's limits."""

    def origin(self, output: str) -> Origin | None:
        """From what that, or a query, printed: which scheduler this is; None if it isn't told."""

    def clusters(self, output: str, options: Options) -> Sequence[str]:
        """From what the command for limits printed: clusters where a job with such options may go, if any."""

    def max_array_size(self, output: str) -> int:
        """From what it printed: how many elements one array may have, indices counted from 0; 0 if there are none."""

    def survey(self) -> str:
        """Shell lines (sh) that print what the scheduler is and can do."""

    def surveyed(self, output: str) -> Survey:
        """What they printed, errors among it."""


def ntasks(asked: Callable[[str], object]) -> int:
    """How many tasks a job has, at least, of which `asked` gives the options by their names with `_`; sbatch(1)."""
    if asked("ntasks"):
        return int(str(asked("ntasks")))
    nodes = str(asked("nodes") or 1).replace(",", "-").partition("-")[0]
    return (int(nodes) if nodes.isdecimal() else 1) * int(str(asked("ntasks_per_node") or 1))


def tag(key: str, block: Block) -> str:
    """The first word of a block's comment, by which it can be found again: the submission's key, and which block."""
    return key + (f"+{block.first}" if block.first else "") + (f"~{block.name}" if block.name else "")
