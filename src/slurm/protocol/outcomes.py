"""Outcomes: the records in `outcomes/<e>.json` of how elements finished."""

from __future__ import annotations

from slurm.protocol import FAILED, SAVE, STOPPED, SUCCEEDED, Document
from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, ClassVar


class ErrorRecord(Record):
    """An exception, readable without opening a pickle."""

    type: str
    message: str
    bases: tuple[str, ...] = ()
    """The names of its class and base classes, as in `Retry`; for a program, its exit status, too."""
    traceback: str = ""
    pickle: str | None = None
    """The exception itself, cloudpickled, in base64; None if it cannot be pickled."""
    not_pickled: str | None = None
    """Why there is no pickle."""


def class_name(kind: type) -> str:
    """Return the name of a class, as used in `ErrorRecord.bases` and `Retry`."""
    module = "" if kind.__module__ in ("builtins", "slurm.errors") else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


def exit_name(status: int) -> str:
    """Return the name of a program's failure with this exit status, as used in `ErrorRecord.bases` and `Retry`."""
    return f"exit {status}"


class ResultRecord(Record):
    """The location of a result, with the size and digest of its file."""

    file: str
    """Its name in `results/`."""
    bytes: int
    sha256: str
    """Size and digest of the whole file, which concatenates the results of all calls of the element."""
    begin: int = 0
    end: int | None = None
    """Its offsets in the file; None for the end of the file."""

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        if not self.file or "/" in self.file:
            return f"{self.file!r} is not a name of a result file"
        return None if min(self.bytes, self.begin) >= 0 else f"a result of {self.bytes} bytes"


class CallFailure(Record):
    """The failure of one of an element's calls."""

    call: int
    """Its position in the element, from 0."""
    phase: str
    error: ErrorRecord | None = None
    exit_code: int = 1
    """The exit status that the process would have if this were the only call."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {"error": ErrorRecord}


class Product(Record):
    """A file or directory that a command's program wrote, as it was when the program ended."""

    path: str
    """Its path in the directory of the attempt."""
    bytes: int
    sha256: str
    """Size and digest; for a directory, of all its files, see `slurm.protocol.digests`."""

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        parts = self.path.split("/")
        return f"{self.path!r} is not a path within a directory" if {"", ".", ".."} & set(parts) else None


class Output(Record):
    """The files of one of an element's calls, for a call that runs a program."""

    call: int = 0
    """Its position in the element, from 0."""
    directory: str
    """The name of the attempt's directory, in `work/<i>/` of call i."""
    products: tuple[Product, ...] = ()
    seconds: float | None = None
    peak_memory: int | None = None
    """What the program used. With these values, this record has all facts about the result, so an element of one call
    writes no file for it."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {"products": Product}

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        valid = self.directory and "/" not in self.directory and self.directory not in (".", "..")
        return None if valid else f"{self.directory!r} is not a name of a directory"


class Outcome(Document):
    """`outcomes/<e>.json`: how element e finished. An element is done when this file exists."""

    status: str
    phase: str
    attempt: int = 1
    exit_code: int = 0
    """The exit status of the process: 0 only for a success; 128 + n if signal n ended it."""
    result: ResultRecord | None = None
    error: ErrorRecord | None = None
    started: float | None = None
    ended: float | None = None
    """Seconds since the epoch, by the node's clock."""
    host: str | None = None
    job_id: str | None = None
    state: str | None = None
    reason: str | None = None
    """The scheduler's state and reason if the scheduler ended the element. The first client to query writes them."""
    fence: str | None = None
    """If `slurm.fence` ended the element: the random word of that fence."""
    peak_memory: int | None = None
    """The largest resident set size of its processes, in bytes."""
    cpu_seconds: float | None = None
    """The CPU time of its process and of the children that have ended, of all ranks."""
    python: str | None = None
    """The version of Python."""
    interpreter: str | None = None
    """The path of Python."""
    distributions: str | None = None
    """The installed packages, by `distributions_digest`."""
    ends: tuple[int, ...] | None = None
    """For an element of several calls, the end offset of each call's result; a failed call's result is empty."""
    failures: tuple[CallFailure, ...] = ()
    """For an element of several calls, the failed ones, in order."""
    metrics: Mapping[str, Any] | None = None
    """Numbers by names, if the submission requests metrics; "nan", "inf" and "-inf" are text."""
    call_metrics: tuple[Any, ...] | None = None
    """For an element of several calls, the metrics of each call, or None."""
    ranks: int | None = None
    """The number of ranks, for a task that runs once per rank."""
    rank: int | None = None
    """The rank that failed first."""
    outputs: tuple[Output, ...] | None = None
    """The files of each call that ran a program."""

    _nested: ClassVar = {"result": ResultRecord, "error": ErrorRecord, "failures": CallFailure, "outputs": Output}

    def flaw(self) -> str | None:
        """Return why the outcome is invalid, or None."""
        if self.status not in (SUCCEEDED, FAILED):
            return f"status is {self.status!r}, expected {SUCCEEDED} or {FAILED}"
        if self.attempt < 1 or (self.rank or 0) < 0:
            return f"attempt is {self.attempt}, rank is {self.rank}"
        begin, empty = 0, []
        for call, end in enumerate(self.ends or ()):
            if end < begin:
                return f"ends decreases from {begin} to {end}"
            if end == begin:
                empty.append(call)
            begin = end
        if self.ends is not None and empty != [failure.call for failure in self.failures]:
            return "the calls without a result are not those that failed"
        if self.call_metrics is not None and len(self.call_metrics) != len(self.ends or ()):
            return f"it has the metrics of {len(self.call_metrics)} calls, and {len(self.ends or ())} calls"
        wrong = [each for each in (self.metrics, *(self.call_metrics or ())) if not _are_metrics(each)]
        return f"{wrong[0]!r:.60} are no metrics" if wrong else None

    def of_call(self, call: int) -> Outcome:
        """Return the outcome of one of the element's calls; for an element of one call, this outcome.

        Raises ProtocolError if the element has no such call.
        """
        if self.ends is None:
            return self
        if call >= len(self.ends):
            from slurm.errors import ProtocolError  # noqa: PLC0415 - imports concurrent.futures

            raise ProtocolError(f"the outcome has {len(self.ends)} calls and no call {call}")
        begin, end = self.ends[call - 1] if call else 0, self.ends[call]
        metrics = self.call_metrics[call] if self.call_metrics else None
        one: dict[str, Any] = {"ends": None, "failures": (), "metrics": metrics, "call_metrics": None}
        if begin < end:  # the call succeeded: a pickle is never empty
            result = self.result and self.result.replace(begin=begin, end=end)
            outputs = tuple(output for output in self.outputs or () if output.call == call) or None
            success = {"status": SUCCEEDED, "phase": SAVE, "exit_code": 0, "result": result, "outputs": outputs}
            return self.replace(state=None, reason=None, **one, **success)
        from bisect import bisect_left  # noqa: PLC0415 - the runner needs it only for a failed dependency

        failure = self.failures[bisect_left(self.failures, call, key=lambda each: each.call)]
        changes: dict[str, Any] = {"phase": failure.phase, "error": failure.error, "exit_code": failure.exit_code}
        changes |= {"phase": self.phase} if failure.phase == STOPPED else {"state": None, "reason": None}
        return self.replace(status=FAILED, result=None, outputs=None, **one, **changes)

    @property
    def succeeded(self) -> bool:
        """Whether there is a result."""
        return self.status == SUCCEEDED

    @property
    def cause(self) -> str:
        """Why it failed: its error, or the state in which it ended."""
        if self.error:
            return f"{self.error.type}: {self.error.message}"
        return self.state or f"phase {self.phase}"


def _are_metrics(value: Any) -> bool:
    """Whether a value of a record is metrics, or None."""
    return value is None or (
        isinstance(value, dict)
        and all(isinstance(each, (int, float)) or each in _NOT_FINITE for each in value.values())
    )


_NOT_FINITE = ("nan", "inf", "-inf")


class SharedOutcome(Document):
    """`outcomes/shared-<n>.json`: one outcome of many elements that never began, because the scheduler ended them.

    The client that finds that they have ended writes it: a file for each of 200 000 cancelled elements would take
    minutes. If an element has an outcome of its own, its own outcome counts.
    """

    bounds: tuple[int, ...]
    """The first and the last element of each range, in ascending order."""
    outcome: Outcome

    _nested: ClassVar = {"outcome": Outcome}

    @classmethod
    def of(cls, elements: Iterable[int], outcome: Outcome) -> SharedOutcome:
        """Return the record of some elements."""
        from slurm.protocol import ranges  # noqa: PLC0415 - the runner needs it only for a failed dependency

        return cls(bounds=ranges.bounds(elements), outcome=outcome)

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        from slurm.protocol import ranges  # noqa: PLC0415 - as in `of`

        if not ranges.are_bounds(self.bounds):
            return "bounds are not ranges of elements in ascending order"
        return "elements cannot share a result" if self.outcome.succeeded else None

    def __contains__(self, element: int) -> bool:
        """Whether this is the outcome of an element."""
        from bisect import bisect_left  # noqa: PLC0415 - as in `of_call`

        at = bisect_left(self.bounds, element)
        return at < len(self.bounds) and (at % 2 == 1 or self.bounds[at] == element)

    def __iter__(self) -> Iterator[int]:
        """Yield the elements in ascending order."""
        from slurm.protocol import ranges  # noqa: PLC0415 - as in `of`

        return ranges.within(self.bounds)
