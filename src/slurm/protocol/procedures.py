"""Procedures: the files of a procedure, the names of its states, and what describes it."""

from __future__ import annotations

from slurm.protocol import Document, is_key
from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar

PROCEDURES, SLOTS, CONTEXT = "procedures", "slots", "context"
"""Directories under the root: of the records of procedures, of exclusive slots, and of the operator's overrides."""
BELL = "bell"
"""The file in an inbox whose bytes change after a message was added. Its content means nothing."""
EVENT_FILE = "0.jsonl"
"""The file in `events/` that the procedure's process writes."""
MAIN, INIT = "main", "init"
"""The function whose return ends a procedure, and the one that is called when the script is loaded."""

UNKNOWN, IDLE, CREATING, PREP_ENV, LOADING = "UNKNOWN", "IDLE", "CREATING", "PREP_ENV", "LOADING"
INITIALISING, READY, RUNNING = "INITIALISING", "READY", "RUNNING"
COMPLETE, STOPPED, FAILED = "COMPLETE", "STOPPED", "FAILED"
ENDED = frozenset((COMPLETE, STOPPED, FAILED))
"""The states of a procedure that has ended."""


class CallArguments(Record):
    """The arguments of a function of a script: JSON values."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}


class ScriptRecord(Record):
    """Where a script is from."""

    kind: str
    """`file`, `text` or `git`."""
    path: str
    """The path of a file, absolute or in its repository; the name of a text."""
    digest: str
    """The SHA-256 of its text; for a script in git, the commit."""
    repository: str | None = None
    asked: str | None = None
    """The branch, tag or commit that was asked for."""


class Plan(Record):
    """What the process of a procedure needs to know. Plain data, an argument of its call."""

    script: ScriptRecord
    text: str
    init: CallArguments = CallArguments()
    grace: float
    """Seconds between SIGTERM and SIGKILL for the script when it is stopped."""
    kill_wait: float
    """Seconds between SIGTERM and SIGKILL of the scheduler."""
    idle_timeout: float | None = None
    """Seconds after which a procedure that is READY and not used ends."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {"script": ScriptRecord, "init": CallArguments}


class ProcedureRecord(Document):
    """`procedures/<n>.json`: procedure n; the client that prepares it writes this before it submits the job."""

    key: str
    script: ScriptRecord
    init: CallArguments = CallArguments()
    by: str
    """Who has prepared it, as user@host."""
    created: float
    """Seconds since the epoch, by the client's clock."""
    grace: float

    _nested: ClassVar[Mapping[str, type[Record]]] = {"script": ScriptRecord, "init": CallArguments}

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        return None if is_key(self.key) else f"{self.key!r} is not a key"
