"""The job directory protocol: the files of a submission and their records.

One submission is one directory, `<root>/jobs/<key>/`; see docs/reference/protocol.md.
"""

from __future__ import annotations

from slurm.protocol.records import TYPE_CHECKING, Record, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, ClassVar

    from typing_extensions import Self

PROTOCOL = 1
"""The version that this code writes, and the newest version that it can read."""

BLOBS, ENVS, JOBS, SUBMISSION, SUBMITTED = "blobs", "envs", "jobs", "submission.json", "submitted.json"
REFUSED, SUMMARY, REUSE = "refused.json", "summary.json", "reuse"
CALLS, INDEX, SCRIPT, CARETAKER, CALLBACKS = "calls.pkl", "calls.idx", "script.sh", "caretaker.sh", "callbacks.pkl"
LOGS, OUTCOMES, RESULTS, WORK = "logs", "outcomes", "results", "work"
ATTEMPTS, EVENTS, CHILDREN, INBOX = "attempts", "events", "children", "inbox"
METRICS, CLIENTS = "metrics.json", "clients"

MOST_CALLS = 10**9
"""The largest number of calls in a submission; a record with more is damaged."""
OFFSET_BYTES = 8
"""`calls.idx` holds little-endian unsigned integers of this size: the offset in `calls.pkl` of the head, of each call,
and of the end of the file; n + 2 integers for n calls."""

SUCCEEDED, FAILED = "succeeded", "failed"
"""The two statuses of an outcome. For a failed outcome, the *phase* says where it failed."""

DUMP_SIGNAL = 41
"""Linux's SIGRTMIN + 7, at which the runner prints the stacks of its threads to the log."""
DEBUG_SIGNAL = 42
"""Linux's SIGRTMIN + 8, at which debugpy listens in the runner."""
QUEUE, SETUP, LOAD, RESOLVE, RUN, SAVE, PROCESS = "queue", "setup", "load", "resolve", "run", "save", "process"
"""The phases of an element. `queue`: it never started; `process`: its process ended without an outcome (a signal)."""

STOPPED = "stopped"
"""The phase of an attempt that saved a checkpoint because its time runs out. An outcome has this phase only for calls
that never ran because the element was stopped too often."""


def is_key(text: str) -> bool:
    """Whether a text is a valid submission key: two directory names separated by `/`.

    `/clients/<n>` follows for the calls of a client of a pool.
    """
    parts = text.split("/")
    valid = all(part and part not in (".", "..") and len(part.split()) == 1 for part in parts)
    of_pool = len(parts) == 4 and parts[2] == CLIENTS and parts[3].isdecimal()
    return valid and (len(parts) == 2 or of_pool) and text.isprintable()


class Document(Record):
    """A record that is stored in a file of its own, with the version of the protocol."""

    protocol: int = PROTOCOL

    def dumps(self) -> bytes:
        """Return the bytes of the file."""
        return encode(self.to_json()).encode() + b"\n"

    @classmethod
    def loads(cls, data: bytes | str, *, where: str) -> Self:
        """Parse the bytes of a file. `where` names the file in errors.

        Raises ProtocolError if a newer version wrote the file, or if the file holds no valid record of this type.
        """
        import json  # noqa: PLC0415 - the runner reads no JSON for an ordinary call

        from slurm.errors import ProtocolError  # noqa: PLC0415 - imports concurrent.futures
        from slurm.protocol.checking import read  # noqa: PLC0415 - as json

        try:
            fields = json.loads(data)
            version = fields.get("protocol", PROTOCOL) if isinstance(fields, dict) else PROTOCOL
            if type(version) is not int or version <= PROTOCOL:
                return read(cls, fields)
        except (ValueError, TypeError, RecursionError) as error:  # TypeError: a field is missing
            raise ProtocolError(f"{where} is not a valid {cls.__name__.lower()} record: {error}") from error
        raise ProtocolError(
            f"{where} was written with job directory protocol {version}; this slurm-tasks reads up to {PROTOCOL}. "
            "Use the newer slurm-tasks to read it"
        )


class ResolvedEnvironment(Record):
    """A prepared environment: everything that a script needs to start the right Python. Plain data, stored as JSON."""

    key: str
    python: str
    tag: str
    """The interpreter's minor version, such as "3.11"; pickles do not load under another one."""
    setup: tuple[str, ...] = ()
    launch: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    """The packages that were requested, as "name==version"."""
    modules: tuple[str, ...] = ()
    """The user's own top-level modules in it; their functions are pickled by reference."""
    asked: str | None = None
    """The user's request, as written."""
    digest: str | None = None
    """The installed packages, by `distributions_digest`; for an image, a reference with digest, or its tag and id."""
    below: str | None = None
    """The key of the base environment, which must exist, too."""
    runtime: str | None = None
    image: str | None = None
    outside: str | None = None
    """The container runtime, its name for the image, and a Python outside the container; None without a container."""
    is_step: bool | None = None
    """Whether `launch` is itself a job step of the scheduler, so that it starts all ranks."""
    single: str | None = None
    """Why the environment cannot run several ranks; None if it can."""
    program: str | None = None
    """The launcher that runs the programs of commands in the container, while the runner is outside; None if the runner
    is in the container, too.
    """
    no_python: str | None = None
    """Why only programs can run in the container; None if it has a Python for tasks."""


class Edge(Record):
    """A dependency on elements of an earlier submission."""

    key: str
    on: str = "success"
    indices: tuple[int, ...] | None = None
    """The indices of the elements; None for all elements."""
    elementwise: bool = False
    """Element i waits only for element i."""

    def flaw(self) -> str | None:
        """Return why the dependency is invalid, or None."""
        known = self.on in ("success", "failure", "any")
        return None if known and is_key(self.key) else f"a dependency on {self.on!r} of {self.key!r} is not possible"


class ExternalJob(Record):
    """A dependency on a job that this library did not submit, by the scheduler's id."""

    id: str
    on: str = "success"

    def flaw(self) -> str | None:
        """Return why the dependency is invalid, or None."""
        known = self.on in ("success", "failure", "any")
        return None if known else f"a dependency on {self.on!r} of job {self.id!r} is not possible"


class Retried(Record):
    """The calls of an earlier submission that a submission makes again, in this order."""

    key: str
    calls: tuple[int, ...]
    """The first and the last index of each run of consecutive calls."""

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        valid = is_key(self.key) and len(self.calls) % 2 == 0 and min(self.calls, default=0) >= 0
        return None if valid else f"a retry of {self.calls} of {self.key!r} is not possible"


class Functions(Record):
    """The functions of a batch, which has calls of several functions."""

    names: tuple[str, ...]
    calls: tuple[int, ...]
    """For each call, the position of its function's name."""

    def of(self, index: int) -> str:
        """Return the name of the function of a call."""
        return self.names[self.calls[index]]

    def of_some(self, indices: Sequence[int]) -> Self:
        """Return the functions of only some of the calls."""
        return self.replace(calls=tuple(self.calls[index] for index in indices))

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        valid = all(0 <= number < len(self.names) for number in self.calls)
        return None if valid else f"a batch has functions {self.names} only"


class Submission(Document):
    """`submission.json`: the request; the client writes it before it submits anything."""

    key: str
    task: str
    count: int
    """The number of calls."""
    chunk: int = 1
    """The number of calls that an element makes; element e starts with call e × chunk."""
    mapped: bool
    """Whether it was submitted by a map, even one of a single call."""
    options: Mapping[str, Any]
    environment: ResolvedEnvironment
    dependencies: tuple[Edge, ...] = ()
    after: tuple[ExternalJob, ...] | None = None
    continues: bool = False
    """Whether an element may be resubmitted in another job after an attempt that failed or stopped."""
    callbacks: bool = False
    """Whether the node calls hooks, from `callbacks.pkl`."""
    labels: Mapping[str, str] | None = None
    """Names and values that the user gave to it, to find submissions that belong together."""
    blobs: tuple[str, ...] | None = None
    """The files in `blobs/` that its programs use."""
    launch: tuple[str, ...] | None = None
    """The words that start a program in each task of an element, for commands with launch="mpi"."""
    functions: Functions | None = None
    """The function of each call, if a batch has made the submission."""
    retried: Retried | None = None
    """The calls that it retries, if `retry` or `retry_failed` has made the submission."""
    parent: str | None = None
    """The workflow's job that submitted this, as `cluster.job` takes it."""
    workflow: Mapping[str, Any] | None = None
    """For a workflow, the class and data of its cluster on the node; see `slurm.clusters.workflow_cluster`."""
    pool: Mapping[str, Any] | None = None
    """For a pool: `workers`, the number of worker processes of each element. For an elastic pool, whose `count`
    is 0, also the smallest and the largest number of elements at a time, `least` and `most`."""
    client: Mapping[str, Any]
    versions: Mapping[str, str]
    created: float
    """Seconds since the epoch, by the client's clock."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {
        "environment": ResolvedEnvironment,
        "dependencies": Edge,
        "after": ExternalJob,
        "retried": Retried,
        "functions": Functions,
    }

    @property
    def elements(self) -> int:
        """The number of elements that make the calls."""
        return -(-self.count // self.chunk)

    def flaw(self) -> str | None:
        """Return why the submission is invalid, or None."""
        if not 0 <= self.count <= MOST_CALLS or self.chunk < 1:
            return f"it has {self.count} calls, {self.chunk} to an element"
        if self.functions is not None and len(self.functions.calls) != self.count:
            return f"it has {self.count} calls, and the functions of {len(self.functions.calls)}"
        return None if is_key(self.key) else f"{self.key!r} is not a key"


class Origin(Record):
    """The scheduler that assigned an id. The id is valid only there; a local one only until the machine restarts."""

    cluster: str
    """Slurm's ClusterName; for the local scheduler, the random name of its directory."""
    host: str = ""
    """The machine's name, for messages."""
    boot: str = ""
    """The machine's boot id, if a restart ends its jobs."""
    federation: tuple[str, ...] | None = None
    """The clusters of its federation, and itself, if it is in one."""

    def __str__(self) -> str:
        return f"{self.host} (local scheduler {self.cluster})" if self.host else f"cluster {self.cluster}"


class Block(Record):
    """Elements that the scheduler knows by one id: element `first + k` is its array task k."""

    id: str = ""
    """Empty before it is queued."""
    first: int
    count: int
    """The number of array tasks, numbered from 0."""
    tasks: tuple[int, ...] | None = None
    """The array tasks, if they are only some of those."""
    name: str = ""
    """Distinguishes blocks with the same elements; empty for the blocks of the submission itself."""
    attempts: int = 0
    """The number of earlier attempts of its elements."""
    array: bool | None = None
    """False for one element that is a plain job because the scheduler has no arrays; its id is the job's."""
    origin: Origin | None = None
    """The scheduler that assigned the id; None if unknown."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {"origin": Origin}

    @property
    def elements(self) -> Sequence[int]:
        """The elements, in order."""
        if self.tasks is None:
            return range(self.first, self.first + self.count)
        return tuple(self.first + task for task in self.tasks)

    def flaw(self) -> str | None:
        """Return why the block is invalid, or None."""
        valid = min(self.first, self.count, self.attempts, *(self.tasks or ())) >= 0 and self.count <= MOST_CALLS
        return None if valid else f"a block of {self.count} elements from {self.first} on"


_NUMERIC_IDS = ("slurm", "local")
"""Schedulers with numeric ids; Slurm appends `;` and a cluster's name to some. Other schedulers may use any text."""


def _is_number(id_: str) -> bool:
    number, _, cluster = id_.partition(";")
    return (
        number.isascii() and number.isdecimal() and len(number) < 19 and all(c.isalnum() or c in "._-" for c in cluster)
    )


class Submitted(Document):
    """`submitted.json`: the scheduler's ids and the elements of each; incomplete while the queue was full."""

    scheduler: str
    blocks: tuple[Block, ...]

    _nested: ClassVar[Mapping[str, type[Record]]] = {"blocks": Block}

    def flaw(self) -> str | None:
        """Return an id that the scheduler cannot have assigned, or None. A query with such an id fails for all ids."""
        ids = [block.id for block in self.blocks] if self.scheduler in _NUMERIC_IDS else []
        return next((f"{id_!r} is not an id of {self.scheduler}" for id_ in ids if not _is_number(id_)), None)

    def block(self, index: int) -> Block | None:
        """Return the block of element `index`; None if it is not queued yet."""
        return next((block for block in self.blocks if block.first <= index < block.first + block.count), None)


class Refused(Document):
    """`refused.json`: the scheduler rejected the whole submission, and it is not retried."""

    scheduler: str
    words: str
    """The scheduler's message."""


def outcome_name(index: int) -> str:
    """Return the file name in `outcomes/` of element `index`."""
    return f"{index}.json"


def shared_name(number: int) -> str:
    """Return the file name in `outcomes/` of a `SharedOutcome`; they are numbered from 0."""
    return f"shared-{number}.json"


def attempt_name(element: int, attempt: int) -> str:
    """Return the file name in `attempts/` of the `Outcome` of a failed or stopped attempt that may be retried."""
    return f"{element}.{attempt}.json"


def begun_name(element: int, attempt: int) -> str:
    """Return the name of the empty file in `attempts/` that marks the start of an attempt after the first."""
    return f"{element}.{attempt}.begun"


def call_name(key: str, index: int, *, mapped: bool) -> str:
    """The name of a call: the key of its submission, with [index] in a map."""
    return f"{key}[{index}]" if mapped else key


def task_of(key: str, index: int | None, functions: Functions | None) -> str:
    """The name of the task of a call: in a batch, the name of its function, else the name in the key."""
    return key.partition("/")[0] if functions is None or index is None else functions.of(index)


def log_name(first: int, task: str) -> str:
    """Return the file name in `logs/` of array task `task` of the block that starts at element `first`.

    `task` is a number, or the scheduler's pattern for it. The scheduler can insert the array task into a file name but
    cannot add an offset to it, so the names of later blocks contain their offset.
    """
    return f"{first}+{task}.log" if first else f"{task}.log"


def stderr_log(log: str) -> str:
    """Return the path of the log of standard error that belongs to a log, with the option `separate_stderr`."""
    return f"{log.removesuffix('.log')}.err.log"
