"""The job directory protocol: which files a submission has, and what stands in them.

One submission is one directory, `<root>/jobs/<key>/`; docs/reference/protocol.md draws it.
"""

from __future__ import annotations

from slurm.protocol.records import TYPE_CHECKING, Record, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, ClassVar

    from typing_extensions import Self

PROTOCOL = 1
"""The version that this code writes, and the newest that it reads."""

BLOBS, ENVS, JOBS, SUBMISSION, SUBMITTED = "blobs", "envs", "jobs", "submission.json", "submitted.json"
REFUSED = "refused.json"
CALLS, INDEX, SCRIPT, CARETAKER, CALLBACKS = "calls.pkl", "calls.idx", "script.sh", "caretaker.sh", "callbacks.pkl"
LOGS, OUTCOMES, RESULTS, WORK = "logs", "outcomes", "results", "work"
ATTEMPTS, EVENTS, CHILDREN = "attempts", "events", "children"

MOST_CALLS = 10**9
"""No submission has more calls: a record that says so is damaged."""
OFFSET_BYTES = 8
"""`calls.idx` is little-endian unsigned integers of this size: where the head of `calls.pkl`, then each call, begins,
and last where the file ends; n calls make n + 2 of them."""

SUCCEEDED, FAILED = "succeeded", "failed"
"""The two words for an outcome's status; *phase* says how far a failed one came."""

QUEUE, SETUP, LOAD, RESOLVE, RUN, SAVE, PROCESS = "queue", "setup", "load", "resolve", "run", "save", "process"
"""The phases of an element. `queue`: nobody took it; `process`: it ended without a word of its own (a signal)."""

STOPPED = "stopped"
"""The phase of an attempt that has saved a checkpoint because its time runs out; never that of an outcome, but of the
calls of one that were never made, since the element was stopped too often."""


def is_key(text: str) -> bool:
    """Whether a text can be a submission's key: the name of a directory, and of one in it."""
    parts = text.split("/")
    fit = all(part and part not in (".", "..") and len(part.split()) == 1 for part in parts)
    return fit and len(parts) == 2 and text.isprintable()


class Document(Record):
    """A record that is a file of its own: it carries the protocol's version."""

    protocol: int = PROTOCOL

    def dumps(self) -> bytes:
        """The file's bytes."""
        return encode(self.to_json()).encode() + b"\n"

    @classmethod
    def loads(cls, data: bytes | str, *, where: str) -> Self:
        """The record in a file's bytes; `where` is named if it can't be read.

        Raises ProtocolError if a newer version wrote it, or if it isn't such a record.
        """
        import json  # noqa: PLC0415 - the runner reads no JSON on the way of an ordinary call

        from slurm.errors import ProtocolError  # noqa: PLC0415 - carries concurrent.futures
        from slurm.protocol.checking import read  # noqa: PLC0415 - as json

        try:
            fields = json.loads(data)
            version = fields.get("protocol", PROTOCOL) if isinstance(fields, dict) else PROTOCOL
            if type(version) is not int or version <= PROTOCOL:
                return read(cls, fields)
        except (ValueError, TypeError, RecursionError) as error:  # TypeError: a field is missing
            message = f"{where} is not a valid {cls.__name__.lower()} record: {error}"
            raise ProtocolError(message) from error
        message = (
            f"{where} was written with job directory protocol {version}; this slurm-tasks reads up to {PROTOCOL}. "
            "Use the newer slurm-tasks to read it"
        )
        raise ProtocolError(message)


class ResolvedEnvironment(Record):
    """An environment made ready: all that a script needs to start the right Python. Plain data, so that it travels."""

    key: str
    python: str
    tag: str
    """The interpreter's minor version, such as "3.11": pickles made under one aren't opened under another."""
    setup: tuple[str, ...] = ()
    launch: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    """What it was made for, as "name==version"."""
    modules: tuple[str, ...] = ()
    """Top-level modules that it has of the user's own: their functions go by reference."""
    asked: str | None = None
    """What the user asked for, as it is written."""
    digest: str | None = None
    """What was installed, by `distributions_digest`; of an image, a reference with its digest, or its tag and id."""
    below: str | None = None
    """The environment's key that this one stands on: it must be there, too."""
    runtime: str | None = None
    image: str | None = None
    outside: str | None = None
    """What runs containers there, what that calls the image, a Python beside it; None where there is no container."""
    is_step: bool | None = None
    """Whether `launch` is a step of the scheduler's itself, so that it starts all ranks where there are several."""
    single: str | None = None
    """Why it can't run several ranks; None if it can."""


class Edge(Record):
    """What a submission waits for: some elements of an earlier one."""

    key: str
    on: str = "success"
    indices: tuple[int, ...] | None = None
    """None: all elements."""
    elementwise: bool = False
    """Element i waits for element i alone."""

    def flaw(self) -> str | None:
        """What can't be true of it."""
        known = self.on in ("success", "failure", "any")
        return None if known and is_key(self.key) else f"nothing can wait for {self.on!r} of {self.key!r}"


class Submission(Document):
    """`submission.json`: what was asked for; the client writes it before anything is submitted."""

    key: str
    task: str
    count: int
    """How many calls."""
    chunk: int = 1
    """How many calls an element of the array makes: element e those from e × chunk."""
    mapped: bool
    """Whether it was a map, of however many, rather than one call."""
    options: Mapping[str, Any]
    environment: ResolvedEnvironment
    dependencies: tuple[Edge, ...] = ()
    continues: bool = False
    """Whether an element may go on in another job after an attempt that failed or stopped."""
    callbacks: bool = False
    """Whether there are hooks that the node calls, in `callbacks.pkl`."""
    parent: str | None = None
    """The workflow's job that submitted this, as `cluster.job` takes it."""
    workflow: Mapping[str, Any] | None = None
    """Of a workflow: what makes its cluster on the node, and from what; see `slurm.clusters.workflow_cluster`."""
    client: Mapping[str, Any]
    versions: Mapping[str, str]
    created: float
    """Seconds since the epoch, by the client's clock."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {"environment": ResolvedEnvironment, "dependencies": Edge}

    @property
    def elements(self) -> int:
        """How many elements make the calls."""
        return -(-self.count // self.chunk)

    def flaw(self) -> str | None:
        """What can't be true of it."""
        if not 0 <= self.count <= MOST_CALLS or self.chunk < 1:
            return f"it has {self.count} calls, {self.chunk} to an element"
        return None if is_key(self.key) else f"{self.key!r} is no key"


class Origin(Record):
    """Which scheduler gave an id: it means nothing to another one, and nothing once the machine was restarted."""

    cluster: str
    """Slurm's ClusterName; of the local scheduler, the random name of its directory."""
    host: str = ""
    """The machine's name, for messages."""
    boot: str = ""
    """The machine's boot id, where jobs end with it."""

    def __str__(self) -> str:
        return f"{self.host} (local scheduler {self.cluster})" if self.host else f"cluster {self.cluster}"


class Block(Record):
    """Elements that the scheduler knows under one id: element `first + k` is its array task k."""

    id: str = ""
    """Empty before it is queued."""
    first: int
    count: int
    """How many array tasks, numbered from 0."""
    tasks: tuple[int, ...] | None = None
    """Which array tasks, where it isn't these."""
    name: str = ""
    """What tells it from other blocks with the same elements; empty for those of the submission itself."""
    attempts: int = 0
    """How many attempts its elements had before."""
    array: bool | None = None
    """False for one element that is a plain job, where the scheduler has no arrays: its id is the job's."""
    origin: Origin | None = None
    """Which scheduler gave the id; None if that isn't known."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {"origin": Origin}

    @property
    def elements(self) -> Sequence[int]:
        """The elements, in order."""
        if self.tasks is None:
            return range(self.first, self.first + self.count)
        return tuple(self.first + task for task in self.tasks)

    def flaw(self) -> str | None:
        """What can't be true of it."""
        right = min(self.first, self.count, self.attempts, *(self.tasks or ())) >= 0 and self.count <= MOST_CALLS
        return None if right else f"a block of {self.count} elements from {self.first} on"


_NUMBERING = ("slurm", "local")
"""Schedulers whose ids are numbers; Slurm puts `;` and a cluster's name after some. Other schedulers' are any text."""


def _is_number(id_: str) -> bool:
    number, _, cluster = id_.partition(";")
    return (
        number.isascii() and number.isdecimal() and len(number) < 19 and all(c.isalnum() or c in "._-" for c in cluster)
    )


class Submitted(Document):
    """`submitted.json`: the scheduler's ids, and the elements that each covers; not all where there was no room."""

    scheduler: str
    blocks: tuple[Block, ...]

    _nested: ClassVar[Mapping[str, type[Record]]] = {"blocks": Block}

    def flaw(self) -> str | None:
        """An id that the scheduler can't have given: a question about it would fail for all ids of one command."""
        ids = [block.id for block in self.blocks] if self.scheduler in _NUMBERING else []
        return next((f"{id_!r} is no id of {self.scheduler}" for id_ in ids if not _is_number(id_)), None)

    def block(self, index: int) -> Block | None:
        """The block that element `index` is in; None if it isn't queued yet."""
        return next((block for block in self.blocks if block.first <= index < block.first + block.count), None)


class Refused(Document):
    """`refused.json`: the scheduler took none of it, and nothing will be tried again."""

    scheduler: str
    words: str
    """The scheduler's own."""


def outcome_name(index: int) -> str:
    """The file of element `index` in `outcomes/`."""
    return f"{index}.json"


def attempt_name(element: int, attempt: int) -> str:
    """The file in `attempts/` of an attempt that failed or stopped, where the element may go on: an `Outcome`."""
    return f"{element}.{attempt}.json"


def begun_name(element: int, attempt: int) -> str:
    """The empty file in `attempts/` that tells of an attempt after the first."""
    return f"{element}.{attempt}.begun"


def call_name(key: str, index: int, *, mapped: bool) -> str:
    """The name of a call: the key of its submission, with [index] in a map."""
    return f"{key}[{index}]" if mapped else key


def log_name(first: int, task: str) -> str:
    """The file in `logs/` of array task `task` (a number, or the scheduler's pattern for it) of the block at `first`.

    A scheduler can put the array task into a file's name but can't add to it, so later blocks carry their offset.
    """
    return f"{first}+{task}.log" if first else f"{task}.log"
