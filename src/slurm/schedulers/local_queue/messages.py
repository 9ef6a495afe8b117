"""Messages between commands and the supervisor: typed, sent as JSON, and checked when they are received."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args, get_type_hints

from slurm.schedulers.local_queue.wire import MOST_TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence

Message = TypeVar("Message", bound=tuple[Any, ...])

_SPAN = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?::(0*[1-9][0-9]{0,8}))?)?")
_DEPENDENCY = re.compile(r"[0-9]+(_[0-9]{1,9})?")
_MOST_SECONDS = (1 << 31) - 1


class Submission(NamedTuple):
    """One block to queue; the supervisor keeps it on disk in this form."""

    token: str
    """The client chooses it. A repeated request with the same token gets the same id, so nothing is queued twice."""
    script: str
    arguments: list[str]
    tasks: str
    """Array tasks in Slurm's short form: "0-99999"."""
    max_concurrent: int | None
    log: str
    """Path of an element's log, with `%a` for the array task and `%%` for a per cent sign."""
    cpus: int
    """CPUs of one element; 0 for a workflow, which mostly waits."""
    ntasks: int
    cpus_per_task: str | None
    seconds: int | None
    """The time limit."""
    warning: list[int] | None
    """A signal's number, and how many seconds before the time limit it is sent."""
    comment: str
    name: str
    dependencies: dict[str, list[str]]
    """Ids by kind, as for sbatch: afterok, afternotok, afterany, aftercorr."""
    cwd: str
    submit_dir: str
    environ: dict[str, str]
    umask: int


class Query(NamedTuple):
    """Requests the states of ids."""

    ids: list[str]


class Listing(NamedTuple):
    """Requests all ids and their comments."""


class Cancel(NamedTuple):
    """Cancels tasks of ids, in Slurm's short form; None cancels all tasks of an id."""

    tasks: dict[str, str | None]


class Hold(NamedTuple):
    """Keeps pending tasks of ids from starting, or lets them start again; None for all tasks of an id."""

    tasks: dict[str, str | None]
    release: bool


class Stop(NamedTuple):
    """Cancels everything; the supervisor exits once nothing runs."""


class Accepted(NamedTuple):
    """The id of a new submission."""

    id: str


class Row(NamedTuple):
    """A state of some tasks of an id."""

    id: str
    tasks: str
    """In Slurm's short form."""
    state: str
    reason: str


class States(NamedTuple):
    """Replies to a query; unknown ids have no row."""

    rows: list[list[str]]


class Comments(NamedTuple):
    """Replies to a listing: comments by id."""

    comments: dict[str, str]


class Done(NamedTuple):
    """Replies to a request that succeeded without a result."""


class Refused(NamedTuple):
    """Replies that the request was rejected, with the reason. Nothing was done."""

    reason: str


_TYPES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Submission, Query, Listing, Cancel, Hold, Stop, Accepted, States, Comments, Done, Refused)
}


def parse_tasks(text: str) -> Sequence[int]:
    """Parse array tasks. Rejects a text that names too many before it expands their numbers."""
    spans = [
        range(int(low), int(high or low) + 1, int(step or 1))
        for low, high, step in (found.groups() for found in map(_SPAN.fullmatch, text.split(",")) if found)
    ]
    if len(spans) <= text.count(",") or not 0 < sum(map(len, spans)) <= MOST_TASKS:
        raise ValueError(f'task numbers such as "0-9,12", at most {MOST_TASKS}')
    return [task for span in spans for task in span]


def check(submission: Submission) -> None:
    """Raise ValueError for values that would break the supervisor or a monitor. `decode` has checked the types."""
    try:
        parse_tasks(submission.tasks)
    except ValueError as error:
        raise ValueError(f"--array={submission.tasks[:200]}: expected {error}") from None
    for kind, names in submission.dependencies.items():
        for name in names:
            if not _DEPENDENCY.fullmatch(name):
                raise ValueError(f"--{kind}={name}: expected an id such as 12, or one of its tasks such as 12_3")
    number, lead = submission.warning if submission.warning and len(submission.warning) == 2 else (0, 0)
    in_range = {
        "max_concurrent": submission.max_concurrent is None or submission.max_concurrent > 0,
        "cpus": submission.cpus >= 0,
        "seconds": submission.seconds is None or 0 < submission.seconds <= _MOST_SECONDS,
        "umask": 0 <= submission.umask <= 0o777,
        "warning": submission.warning is None or (number in signal.valid_signals() and 0 <= lead <= _MOST_SECONDS),
    }
    for name, fits in in_range.items():
        if not fits:
            raise ValueError(f"{name}={getattr(submission, name)}: out of range")


def encode(message: tuple[Any, ...]) -> bytes:
    """Encode a message in ASCII: JSON escapes surrogates, which stand for environment bytes that are not UTF-8."""
    fields = dict(zip(type(message).__annotations__, message, strict=True))
    return json.dumps({"message": type(message).__name__, **fields}).encode("ascii")


def decode(data: bytes) -> Any:
    """Decode a message. Raises ValueError if it is not one, or if a field has the wrong type."""
    try:
        found = json.loads(data)
    except RecursionError:
        found = None
    if not isinstance(found, dict) or not isinstance(name := found.pop("message", None), str) or name not in _TYPES:
        raise ValueError("not a message of the local scheduler")
    kind = _TYPES[name]
    hints = get_type_hints(kind)
    if set(found) != set(hints):
        raise ValueError(f"{name}: expected the fields {', '.join(hints)}")
    for field, hint in hints.items():
        if not _fits(found[field], hint):
            raise ValueError(f"{name}.{field}: expected {hint}")
    return kind(**found)


def decode_as(kind: type[Message], data: bytes) -> Message:
    """Decode a message of one kind. Raises ValueError for any other."""
    found = decode(data)
    if not isinstance(found, kind):
        raise ValueError(f"expected {kind.__name__}, not {type(found).__name__}")
    return found


def _fits(value: Any, hint: Any) -> bool:
    if type(hint) is type:
        return type(value) is hint
    if hint is type(None):
        return value is None
    arguments = get_args(hint)
    origin = getattr(hint, "__origin__", None)
    if origin is list:
        return type(value) is list and all(_fits(item, arguments[0]) for item in value)
    if origin is dict:
        return type(value) is dict and all(_fits(item, arguments[1]) for item in value.values())
    return any(_fits(value, argument) for argument in arguments)
