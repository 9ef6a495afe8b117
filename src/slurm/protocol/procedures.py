"""Procedures: the files of a procedure, the names of its states, and its records."""

from __future__ import annotations

from slurm.protocol import Document, is_key
from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, ClassVar

PROCEDURES, SLOTS, CONTEXT = "procedures", "slots", "context"
"""Directories under the root: of the records of procedures, of exclusive slots, and of the operator's overrides."""
BELL = "bell"
"""The file in a directory that grows after a record was added. Its content has no meaning."""
EVENT_FILE = "0.jsonl"
"""The file in `events/` that the procedure's process writes."""
BEAT = "preparing"
"""The file in a submission's directory that is written every few seconds by the process that builds its environment."""
MAIN, INIT = "main", "init"
"""The function whose return ends a procedure, and the one that is called when the script is loaded."""
EXPECTED = "EXPECTED"
"""The name in a script of the seconds that its `main` is expected to take."""
STOP, FAILURE = "stop", "failure"
"""The reasons to start an abort script: a stop, or a failure."""

UNKNOWN, IDLE, CREATING, PREP_ENV, LOADING = "UNKNOWN", "IDLE", "CREATING", "PREP_ENV", "LOADING"
INITIALISING, READY, RUNNING = "INITIALISING", "READY", "RUNNING"
COMPLETE, STOPPED, FAILED = "COMPLETE", "STOPPED", "FAILED"
ENDED = frozenset((COMPLETE, STOPPED, FAILED))
"""The states of a procedure that has ended."""


def is_name(text: str) -> bool:
    """Whether a text can name a slot or a topic, which is the name of a directory."""
    plain = text.replace("-", "").replace("_", "").replace(".", "")
    return plain.isascii() and plain.isalnum() and not text.startswith(".") and len(text) <= 200


def record_numbers(names: Iterable[str]) -> list[int]:
    """Return the numbers of the records among the names of files, ascending."""
    parts = (name.partition(".") for name in names)
    return sorted(int(number) for number, _, end in parts if number.isdecimal() and end == "json")


def abort_name(key: str) -> str:
    """Return the name of the record with which the procedure `key` starts an abort procedure, in the latter's inbox."""
    return f"abort-{key.replace('/', '-')}.json"


class CallArguments(Record):
    """The arguments of a function of a script: JSON values."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}


class ScriptRecord(Record):
    """A script: its origin and its text."""

    kind: str
    """`file`, `text` or `git`."""
    path: str
    """The path of a file, absolute or in its repository; the name of a text."""
    digest: str
    """The SHA-256 of its text; for a script in git, the commit."""
    text: str
    repository: str | None = None
    asked: str | None = None
    """The branch, tag or commit that was requested."""
    project: bool = False
    """Whether it runs in an environment with the project of its repository."""


class Abort(Record):
    """The script that ends safely what a procedure was doing when it was stopped."""

    script: ScriptRecord
    init: CallArguments = CallArguments()
    on: tuple[str, ...] = (STOP,)
    early: bool = True
    """Whether it is prepared when the procedure starts, so that it is READY when it is needed."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {"script": ScriptRecord, "init": CallArguments}


class Plan(Record):
    """What the process of a procedure needs to know."""

    script: ScriptRecord
    init: CallArguments = CallArguments()
    grace: float
    """Seconds between SIGTERM and SIGKILL for the script when it is stopped."""
    kill_wait: float
    """Seconds between SIGTERM and SIGKILL of the scheduler."""
    idle_timeout: float | None = None
    """Seconds after which an unused procedure that is READY ends."""
    exclusive: str | None = None
    """The slot that the procedure holds while a function runs."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {"script": ScriptRecord, "init": CallArguments}


class ProcedureRecord(Document):
    """`procedures/<n>.json`: procedure n. The client that prepares it writes the record before it submits the job."""

    key: str
    plan: Plan
    abort: Abort | None = None
    options: Mapping[str, Any] = {}
    """The options of its job."""
    by: str
    """Who has prepared it, as user@host."""
    created: float
    """Seconds since the epoch, by the client's clock."""
    aborts: str | None = None
    """For an abort procedure, the key of the procedure that it follows."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {"plan": Plan, "abort": Abort}

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        return None if is_key(self.key) else f"{self.key!r} is not a key"


class SlotRecord(Document):
    """`slots/<name>/<n>.json`: which procedure has a slot. The record with the highest number counts."""

    key: str | None = None
    """The procedure that has it; None if a person has released it."""
    command: int = 0
    """The command of the procedure that runs while it has the slot."""
    host: str = ""
    released: int | None = None
    """The number of the record that a person has ended."""
    by: str = ""
    time: float = 0.0


class Override(Document):
    """`context/<topic>/<n>.json`: what an operator has set. The record with the highest number counts."""

    id: str
    """A random text. A client that writes again recognises its record by this id."""
    values: Mapping[str, Any]
    by: str
    time: float
