"""Messages between commands and the supervisor: typed, sent as JSON."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

Message = TypeVar("Message", bound=tuple[Any, ...])


class Submission(NamedTuple):
    """One block to be queued; the supervisor keeps it on disk in this form."""

    token: str
    """Chosen by the client. A repeated request with the same token gets the same id, so nothing is queued twice."""
    script: str
    arguments: list[str]
    tasks: str
    """Array tasks in Slurm's short form: "0-99999"."""
    max_concurrent: int | None
    log: str
    """Path of an element's log, with `%a` for the array task and `%%` for a per cent sign."""
    cpus: int
    """CPUs of one element; 0 for a job that only waits."""
    ntasks: int
    cpus_per_task: str | None
    seconds: int | None
    """The time limit."""
    warning: list[int] | None
    """A signal's number, and its lead before the time limit in seconds."""
    comment: str
    name: str
    dependencies: dict[str, list[str]]
    """Ids by sbatch's word: afterok, afternotok, afterany, aftercorr."""
    cwd: str
    submit_dir: str
    environ: dict[str, str]
    umask: int


class Query(NamedTuple):
    """Asks for the states of ids."""

    ids: list[str]


class Listing(NamedTuple):
    """Asks for all ids and their comments."""


class Cancel(NamedTuple):
    """Cancels tasks of ids, in Slurm's short form; None stands for all of an id."""

    tasks: dict[str, str | None]


class Stop(NamedTuple):
    """Cancels everything; the supervisor ends once nothing runs."""


class Accepted(NamedTuple):
    """The id of a new submission."""

    id: str


class Row(NamedTuple):
    """A state that some tasks of an id share."""

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
    """Replies that nothing was done, with the reason."""

    reason: str


_TYPES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Submission, Query, Listing, Cancel, Stop, Accepted, States, Comments, Done, Refused)
}


def encode(message: tuple[Any, ...]) -> bytes:
    """The bytes of a message. ASCII: bytes of the environment that aren't UTF-8 are surrogates here, and escaped."""
    fields = dict(zip(type(message).__annotations__, message, strict=True))
    return json.dumps({"message": type(message).__name__, **fields}).encode("ascii")


def decode(data: bytes) -> Any:
    """Decode what `encode` made. Raises ValueError if it is no message or a field has the wrong type."""
    try:
        found = json.loads(data)
    except RecursionError:
        found = None
    if not isinstance(found, dict) or not isinstance(name := found.pop("message", None), str) or name not in _TYPES:
        message = "not a message of the local scheduler"
        raise ValueError(message)
    kind = _TYPES[name]
    hints = get_type_hints(kind)
    if set(found) != set(hints):
        message = f"{name}: expected the fields {', '.join(hints)}"
        raise ValueError(message)
    for field, hint in hints.items():
        if not _fits(found[field], hint):
            message = f"{name}.{field}: expected {hint}"
            raise ValueError(message)
    return kind(**found)


def decode_as(kind: type[Message], data: bytes) -> Message:
    """Like `decode`, for one kind of message. Raises ValueError for another kind."""
    found = decode(data)
    if not isinstance(found, kind):
        message = f"expected {kind.__name__}, not {type(found).__name__}"
        raise ValueError(message)
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
