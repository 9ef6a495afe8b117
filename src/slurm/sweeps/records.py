"""Records: the files of a sweep's directory, each written once, by one writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from slurm.protocol import MOST_CALLS, SAVE, Document, is_key
from slurm.protocol.ranges import are_bounds, within
from slurm.protocol.states import JobState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

    from slurm.protocol.outcomes import Outcome, ResultRecord
    from slurm.protocol.records import Record

REDO = "redo"
"""The reason of a shard whose results replace the results of earlier shards for the same points."""
_NUMBERS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


class SweepRecord(Document):
    """`sweep.json`: the description of a sweep. Its creator writes it once; it appears together with the directory."""

    id: str
    task: str
    count: int
    """The number of points at creation. Extensions add more."""
    created: float
    """The time of creation in seconds since the epoch, by the clock of the client."""
    search: Mapping[str, Any] | None = None
    """The settings of an adaptive search; None for a sweep whose points are given."""

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        return None if 0 <= self.count <= MOST_CALLS else f"it has {self.count} points"


class Shard(Document):
    """`shards/<n>.json`: one submission of points at one source. The record is written before anything is queued."""

    cluster: Mapping[str, Any]
    """The arguments of `slurm.places.place_for` for the cluster: the URL with the root, and its other settings."""
    source: str
    """The source as the user named it."""
    slots: int | None = None
    """The most elements of the sweep that may run at once at this source."""
    key: str
    """The key of the submission."""
    points: tuple[int, ...]
    """The numbers of the points in the order of the calls: the first and last of each run of consecutive numbers."""
    chunk: int = 1
    code: str
    """The name of the file in `code/` from which the submission was made."""
    why: str = "run"
    instead: tuple[int, ...] = ()
    """The numbers of the shards whose points this shard took over while their source did not answer."""

    _nested: ClassVar[Mapping[str, type[Record]]] = {}

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        if not is_key(self.key) or len(self.points) % 2 or self.chunk < 1:
            return f"{self.points} of {self.key!r}, {self.chunk} to an element"
        return None if isinstance(self.cluster.get("url"), str) else "its cluster has no url"

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of the points, in the order of the calls."""
        if len(self.points) == 2:
            return range(self.points[0], self.points[1] + 1)
        return tuple(within(self.points))

    @property
    def url(self) -> str:
        """The URL of the cluster, with the root."""
        return str(self.cluster["url"])


class Hold(Document):
    """`holds/<word>.json`: elements that a driver holds while it moves them. Removed when the elements are released."""

    elements: Mapping[str, Any]
    """The elements, by the numbers of their shards: the first and the last of each run of consecutive numbers."""

    def flaw(self) -> str | None:
        """Return why the record is invalid, or None."""
        valid = all(
            number.isdecimal() and isinstance(found, list) and all(isinstance(each, int) for each in found)
            for number, found in self.elements.items()
        )
        return None if valid and all(map(are_bounds, self.elements.values())) else f"it holds {self.elements!r:.200}"

    @property
    def pairs(self) -> set[tuple[int, int]]:
        """The elements, as pairs of the shard's number and the element."""
        return {(int(number), each) for number, found in self.elements.items() for each in within(found)}


class Ended(NamedTuple):
    """How a call of a point ended: the part of its outcome that tables and reports need."""

    succeeded: bool
    state: JobState
    attempt: int = 1
    host: str | None = None
    started: float | None = None
    ended: float | None = None
    """Seconds since the epoch, by the node's clock; the time of the element if the element makes several calls."""
    seconds: float | None = None
    """The duration; the mean of its element if the element makes several calls."""
    peak_memory: int | None = None
    cpu_seconds: float | None = None
    exit_code: int = 0
    phase: str = ""
    metrics: Mapping[str, float] | None = None
    error: str | None = None
    """The type of the exception."""
    message: str | None = None
    traceback: str | None = None
    reason: str | None = None
    job_id: str | None = None
    fence: str | None = None
    """The random word of the fence that ended the call."""
    directory: str | None = None
    """The name of the attempt's directory that holds the files of its program."""
    bases: tuple[str, ...] = ()
    """The names of the classes of the exception."""

    @property
    def withdrawn(self) -> bool:
        """Whether the call was cancelled or fenced, so that its point is missing and not failed."""
        return self.state is JobState.CANCELLED

    @classmethod
    def of(cls, outcome: Outcome, call: int) -> Ended:
        """Return how a call of an element ended, from the outcome of the element. Raises ProtocolError."""
        both = outcome.started is not None and outcome.ended is not None
        calls = len(outcome.ends or ()) or 1
        common: dict[str, Any] = {
            "attempt": outcome.attempt,
            "host": outcome.host,
            "started": outcome.started,
            "ended": outcome.ended,
            "seconds": (outcome.ended - outcome.started) / calls if both else None,  # type: ignore[operator] # as above
            "peak_memory": outcome.peak_memory,
            "cpu_seconds": outcome.cpu_seconds,
            "job_id": outcome.job_id,
        }
        if outcome.ends and call < len(outcome.ends) and (outcome.ends[call - 1] if call else 0) < outcome.ends[call]:
            metrics = outcome.call_metrics[call] if outcome.call_metrics else None  # without a copy of the outcome
            outputs = [output.directory for output in outcome.outputs or () if output.call == call]
            directory = outputs[0] if outputs else None
            return cls(True, JobState.COMPLETED, phase=SAVE, metrics=_numbers(metrics), directory=directory, **common)
        one = outcome.of_call(call)
        error, output = one.error, next(iter(one.outputs or ()), None)
        return cls(
            one.succeeded,
            JobState.of(one),
            exit_code=one.exit_code,
            phase=one.phase,
            metrics=_numbers(one.metrics),
            error=error.type if error else None,
            message=error.message if error else None,
            traceback=(error.traceback or None) if error else None,
            reason=one.reason,
            fence=one.fence,
            directory=output.directory if output else None,
            bases=error.bases if error else (),
            **common,
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, without the fields that have their defaults."""
        found = {n: v for n, v in self._asdict().items() if v != self._field_defaults.get(n, _NO_DEFAULT)}
        found["state"] = self.state.value
        if self.metrics:
            found["metrics"] = {n: v if v - v == 0 else str(v) for n, v in self.metrics.items()}
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ended:
        """Return what `to_json` encoded. Unknown fields are ignored: a newer version may have added them."""
        known = dict(data) if data.keys() <= _FIELDS else {name: data[name] for name in data.keys() & _FIELDS}
        known["state"] = _STATES.get(known["state"], JobState.UNKNOWN)
        if metrics := known.get("metrics"):
            known["metrics"] = _numbers(metrics)
        if "bases" in known:
            known["bases"] = tuple(known["bases"])
        return cls(**known)


_NO_DEFAULT = object()
_FIELDS = frozenset(Ended._fields)
_STATES = {state.value: state for state in JobState}


def _numbers(metrics: Mapping[str, Any] | None) -> Mapping[str, float] | None:
    """Return metrics as numbers; records hold numbers that are not finite as text."""
    if not metrics or not any(isinstance(value, str) for value in metrics.values()):
        return metrics
    return {name: _NUMBERS.get(value, value) for name, value in metrics.items()}


class Located(NamedTuple):
    """Where the pickled result of a call is at its source."""

    record: ResultRecord
    """The file with the results of the element."""
    begin: int
    end: int

    @classmethod
    def of(cls, outcome: Outcome, call: int) -> Self | None:
        """Return where the result of a call of an element is; None if it has no result, or the outcome is damaged."""
        if outcome.result is None:
            return None
        if outcome.ends is None:
            return cls(outcome.result, 0, outcome.result.bytes)
        begin, end = outcome.ends[call - 1] if call else 0, outcome.ends[call] if call < len(outcome.ends) else 0
        return cls(outcome.result, begin, end) if begin < end else None


class Collected(NamedTuple):
    """A line of `collected/<n>.jsonl`: the outcome of a call, and where its result, log and files are at home."""

    point: int
    shard: int
    call: int
    """The number of the call in the submission of the shard."""
    ended: Ended
    result: tuple[str, int, int] | None = None
    """The name of a file in `collected/`, and the offsets of the start and the end of the result in the file."""
    log: str | None = None
    """The path of the log in the submission's directory, if the log was copied home.

    `collected/<n>.tar` holds the log unless it is empty.
    """
    files: bool = False
    """Whether `collected/<n>.tar` has the files of the call's output directory."""

    @property
    def home(self) -> int:
        """How many of the result, the log and the files of the call were copied home: 0 to 3."""
        return (self.result is not None) + (self.log is not None) + self.files

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        found = {"point": self.point, "shard": self.shard, "call": self.call, "ended": self.ended.to_json()}
        more = {"result": self.result, "log": self.log, "files": self.files or None}
        return found | {name: value for name, value in more.items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Collected:
        """Return what `to_json` encoded. Raises ValueError."""
        result = None
        if data.get("result") is not None:
            name, begin, end = data["result"]
            result = str(name), int(begin), int(end)
            if "/" in result[0]:
                raise ValueError(f"{result[0]!r} is no name of a file")
        log = data.get("log")
        if not (log is None or isinstance(log, str)):
            raise ValueError(f"{log!r} is no path of a log")
        ended, files = Ended.from_json(data["ended"]), data.get("files") is True
        return cls(data["point"], data["shard"], data["call"], ended, result, log, files)
