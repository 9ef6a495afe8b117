"""Outcomes: how an element ended, as `outcomes/<e>.json` tells it."""

from __future__ import annotations

from slurm.protocol import FAILED, SAVE, STOPPED, SUCCEEDED, Document
from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar


class ErrorRecord(Record):
    """What went wrong, readable without opening a pickle."""

    type: str
    message: str
    bases: tuple[str, ...] = ()
    """The names of its type and the bases of that, as `Retry` has them."""
    traceback: str = ""
    pickle: str | None = None
    """The exception itself, cloudpickled, in base64; None if it can't be pickled."""


def class_name(kind: type) -> str:
    """A class's name as `ErrorRecord.bases` and `Retry` have it."""
    module = "" if kind.__module__ in ("builtins", "slurm.errors") else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


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

    def flaw(self) -> str | None:
        """What can't be true of it."""
        if not self.file or "/" in self.file:
            return f"{self.file!r} is no name of a result's file"
        return None if min(self.bytes, self.begin) >= 0 else f"a result of {self.bytes} bytes"


class CallFailure(Record):
    """How one of an element's calls failed."""

    call: int
    """Which, from 0 for the element's first."""
    phase: str
    error: ErrorRecord | None = None
    exit_code: int = 1
    """What its process would have told the scheduler, were it the only call."""

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
    state: str | None = None
    reason: str | None = None
    """How the scheduler ended it, in its words, where it did: written by whoever asked it first."""
    peak_memory: int | None = None
    """The largest resident set of a process of it, in bytes."""
    python: str | None = None
    """Its version."""
    interpreter: str | None = None
    """Its path."""
    distributions: str | None = None
    """What was installed there, by `distributions_digest`."""
    ends: tuple[int, ...] | None = None
    """Where each call's result ends, for an element of several calls; a failed one's is empty."""
    failures: tuple[CallFailure, ...] = ()
    """The calls that failed, of such an element, in order."""
    ranks: int | None = None
    """How many ranks made the call, where a task runs once per rank."""
    rank: int | None = None
    """Which of them failed first."""

    _nested: ClassVar = {"result": ResultRecord, "error": ErrorRecord, "failures": CallFailure}

    def flaw(self) -> str | None:
        """What can't be true of it."""
        if self.status not in (SUCCEEDED, FAILED):
            return f"status is {self.status!r}, expected {SUCCEEDED} or {FAILED}"
        if self.attempt < 1 or (self.rank or 0) < 0:
            return f"attempt is {self.attempt}, rank is {self.rank}"
        before, empty = 0, []
        for place, end in enumerate(self.ends or ()):
            if end < before:
                return f"ends falls from {before} to {end}"
            if end == before:
                empty.append(place)
            before = end
        if self.ends is not None and empty != [failure.call for failure in self.failures]:
            return "the calls without a result are not those that failed"
        return None

    def of_call(self, call: int) -> Outcome:
        """The outcome of one of the element's calls, by its place; for an element of one call, this.

        Raises ProtocolError for a call that it doesn't tell of.
        """
        if self.ends is None:
            return self
        if call >= len(self.ends):
            from slurm.errors import ProtocolError  # noqa: PLC0415 - carries concurrent.futures

            raise ProtocolError(f"an outcome of {len(self.ends)} calls tells nothing of call {call}")
        begin, end = self.ends[call - 1] if call else 0, self.ends[call]
        if begin < end:  # a pickle is never empty, so this is that of a success
            result = self.result and self.result.replace(begin=begin, end=end)
            done = {"status": SUCCEEDED, "phase": SAVE, "exit_code": 0, "result": result}
            return self.replace(ends=None, failures=(), state=None, reason=None, **done)
        from bisect import bisect_left  # noqa: PLC0415 - the runner needs it only for an upstream that failed

        how = self.failures[bisect_left(self.failures, call, key=lambda failure: failure.call)]
        what: dict[str, Any] = {"phase": how.phase, "error": how.error, "exit_code": how.exit_code}
        what |= {"phase": self.phase} if how.phase == STOPPED else {"state": None, "reason": None}
        return self.replace(status=FAILED, result=None, ends=None, failures=(), **what)

    @property
    def succeeded(self) -> bool:
        """Whether there is a result."""
        return self.status == SUCCEEDED
