"""The job directory protocol: which files a submission has, what stands in them, and how they are written.

One submission is one directory, `<root>/jobs/<key>/`; docs/reference/protocol.md draws it.
"""

from __future__ import annotations

import os

from slurm.records import TYPE_CHECKING, Record, encode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO, Any, ClassVar

    from typing_extensions import Self

PROTOCOL = 1
"""The version that this code writes, and the newest that it reads."""

BLOBS, JOBS = "blobs", "jobs"
SUBMISSION, SUBMITTED = "submission.json", "submitted.json"
CALLS, INDEX, SCRIPT = "calls.pkl", "calls.idx", "script.sh"
LOGS, OUTCOMES, RESULTS, WORK = "logs", "outcomes", "results", "work"

OFFSET_BYTES = 8
"""`calls.idx` is little-endian unsigned integers of this size: where the head of `calls.pkl`, then each call, begins,
and last where the file ends; n calls make n + 2 of them."""

SUCCEEDED, FAILED = "succeeded", "failed"
"""The two words for an outcome's status; *phase* says how far a failed one came."""

LOAD, RESOLVE, RUN, SAVE, PROCESS = "load", "resolve", "run", "save", "process"
"""The phases of an element. `process`: the process ended without a word of its own (a signal, `os._exit`)."""


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

        try:
            fields = json.loads(data)
            version = int(fields.get("protocol", PROTOCOL))
            if version <= PROTOCOL:
                return cls.from_json(fields)
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError) as error:
            message = f"{where} is not a {cls.__name__.lower()} record: {error}"
            raise ProtocolError(message) from error
        message = (
            f"{where} was written with job directory protocol {version}; this slurm-tasks reads up to {PROTOCOL}. "
            "Use the newer slurm-tasks to read it"
        )
        raise ProtocolError(message)


class Prepared(Record):
    """An environment made ready: all that a script needs to start the right Python. Plain data, so that it travels."""

    key: str
    python: str
    tag: str
    """The interpreter's minor version, such as "3.11": pickles made under one aren't opened under another."""
    setup: tuple[str, ...] = ()
    launch: tuple[str, ...] = ()


class Edge(Record):
    """What a submission waits for: some elements of an earlier one."""

    key: str
    on: str = "success"
    indices: tuple[int, ...] | None = None
    """None: all elements."""
    elementwise: bool = False
    """Element i waits for element i alone."""


class Submission(Document):
    """`submission.json`: what was asked for; the client writes it before anything is submitted."""

    key: str
    task: str
    count: int
    """How many calls."""
    chunk: int = 1
    """How many calls an element of the array makes, one after the other: element e those from e × chunk."""
    mapped: bool
    """Whether it was a map, of however many, rather than one call."""
    options: Mapping[str, Any]
    environment: Prepared
    dependencies: tuple[Edge, ...] = ()
    parent: str | None = None
    client: Mapping[str, Any]
    versions: Mapping[str, str]
    created: float
    """Seconds since the epoch, by the client's clock."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {"environment": Prepared, "dependencies": Edge}


class Block(Record):
    """A run of elements that the scheduler knows under one id: element `first + k` is its array task k."""

    id: str
    first: int
    count: int


class Submitted(Document):
    """`submitted.json`: the scheduler's ids, and the elements that each covers."""

    scheduler: str
    blocks: tuple[Block, ...]

    _nested: ClassVar[Mapping[str, type[Record]]] = {"blocks": Block}

    def block(self, index: int) -> Block:
        """The block that element `index` is in."""
        return next(block for block in self.blocks if block.first <= index < block.first + block.count)


class ErrorRecord(Record):
    """What went wrong, readable without opening a pickle."""

    type: str
    message: str
    traceback: str = ""
    pickle: str | None = None
    """The exception itself, cloudpickled, in base64; None if it can't be pickled."""


class ResultRecord(Record):
    """Where a result is, and how to tell that its file is whole."""

    file: str
    """Its name in `results/`."""
    bytes: int
    sha256: str
    """Both of the file, which for an element of several calls holds all of their results, end to end."""
    begin: int = 0
    end: int | None = None
    """Where in the file it is; None: to its end."""


class CallFailure(Record):
    """How one of an element's calls failed."""

    call: int
    """Which, from 0 for the element's first."""
    phase: str
    error: ErrorRecord
    exit_code: int = 1  # what a process of its own would have told the scheduler

    _nested: ClassVar[Mapping[str, type[Record]]] = {"error": ErrorRecord}


class Outcome(Document):
    """`outcomes/<e>.json`: how element e ended. That the file exists is what "done" means."""

    status: str
    phase: str
    attempt: int = 1
    exit_code: int = 0
    """What the process told the scheduler: 0 only for a success; 128 + n if signal n ended it."""
    result: ResultRecord | None = None
    error: ErrorRecord | None = None
    started: float | None = None
    ended: float | None = None
    """Seconds since the epoch, by the node's clock."""
    host: str | None = None
    job_id: str | None = None
    peak_memory: int | None = None
    """The largest resident set of the process, in bytes."""
    python: str | None = None
    ends: tuple[int, ...] | None = None
    """Where each call's result ends, for an element of several calls; a failed one's is empty."""
    failures: tuple[CallFailure, ...] = ()
    """The calls that failed, of such an element."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {
        "result": ResultRecord,
        "error": ErrorRecord,
        "failures": CallFailure,
    }

    def of_call(self, call: int) -> Outcome:
        """The outcome of one of the element's calls, by its place; for an element of one call, this."""
        if self.ends is None:
            return self
        alone = self.replace(ends=None, failures=())
        for failure in self.failures:
            if failure.call == call:
                what = {"phase": failure.phase, "exit_code": failure.exit_code, "error": failure.error}
                return alone.replace(status=FAILED, result=None, **what)
        result = self.result and self.result.replace(begin=self.ends[call - 1] if call else 0, end=self.ends[call])
        return alone.replace(status=SUCCEEDED, phase=SAVE, exit_code=0, result=result)

    @property
    def succeeded(self) -> bool:
        """Whether there is a result."""
        return self.status == SUCCEEDED


def outcome_name(index: int) -> str:
    """The file of element `index` in `outcomes/`."""
    return f"{index}.json"


def log_name(first: int, task: str) -> str:
    """The file in `logs/` of array task `task` (a number, or the scheduler's pattern for it) of the block at `first`.

    A scheduler can put the array task into a file's name but can't add to it, so later blocks carry their offset.
    """
    return f"{first}+{task}.log" if first else f"{task}.log"


class NewFile:
    """A file that appears whole or not at all, and only where nothing is yet.

    Bytes are written beside the target under a hidden name, flushed and fsynced; `commit` then links it to the
    target's name, which the file system does for one writer only. A writer that dies leaves a hidden file, no target.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        directory, name = os.path.split(path)
        self._hidden = os.path.join(directory, f".{name}.{os.urandom(6).hex()}")
        self._descriptor = os.open(self._hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.file: IO[bytes] = os.fdopen(self._descriptor, "wb")

    def commit(self) -> bool:
        """Put the file in its place; False if there was one already, which then stays."""
        try:
            self.file.flush()
            os.fsync(self._descriptor)
            self.file.close()
            return self._link()
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget what was written."""
        if os.path.exists(self._hidden):
            os.unlink(self._hidden)
        self.file.close()  # which on a full disk raises once more

    def _link(self) -> bool:
        try:
            os.link(self._hidden, self._path)
        except FileExistsError:
            return False
        except OSError:
            # Some file systems have no hard links. There the check and the rename are two steps; two attempts of one
            # element would have to end within the same microseconds to pass between them.
            if os.path.exists(self._path):
                return False
            os.rename(self._hidden, self._path)
        return True


def commit(path: str, data: bytes) -> bool:
    """Write a small file by `NewFile`; False if there was one already, which then stays."""
    new = NewFile(path)
    try:
        new.file.write(data)
    except BaseException:
        new.discard()
        raise
    return new.commit()


def open_own(path: str) -> IO[bytes]:
    """Open a file for unpickling: only if it is the user's own and nobody else can write to it or its directory.

    Raises UntrustedFile otherwise: whoever can write a pickle can run code as its reader.
    """
    file = open(path, "rb")  # noqa: SIM115 - it is the caller's
    directory = os.path.dirname(path)
    for place, status in ((directory, os.stat(directory)), (path, os.fstat(file.fileno()))):
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            from slurm.errors import UntrustedFile  # noqa: PLC0415 - carries concurrent.futures

            file.close()
            raise UntrustedFile(place, uid=status.st_uid, mode=status.st_mode)
    return file
