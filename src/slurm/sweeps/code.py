"""Code: the function that the points of a sweep call, pickled once, so that a later process can submit more points.

The bytes are copied into submissions without unpickling, so the process that completes a sweep does not need the
source of the function.
"""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle

from slurm.environments.current import TAG
from slurm.errors import ConfigurationError, ProtocolError
from slurm.jobs.launching import is_command
from slurm.jobs.reuse import value_digest
from slurm.jobs.submit import pickle_function
from slurm.options import Options
from slurm.protocol.files import open_own
from slurm.serialization.calls import Calls, packed, unpacked
from slurm.serialization.pickling import pickle_callbacks
from slurm.spaces.identity import nested
from slurm.storage.uploads import Uploads
from slurm.sweeps.directory import CODE, write_once
from slurm.tasks.settings import Settings
from slurm.tasks.task import REDUCERS
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from slurm.serialization.pickling import Arguments
    from slurm.tasks.task import Task


class Code(NamedTuple):
    """A pickled function with its options and environment."""

    task: str
    digest: str
    """The digest of the function and its environment, equal in every process; or else the digest of the pickle."""
    tag: str
    """The minor version of Python that pickled the function."""
    modules: tuple[str, ...]
    """The modules that the pickle refers to by name."""
    positional: tuple[str, ...]
    """The parameters whose arguments are passed by position."""
    command: bool
    options: Mapping[str, Any]
    environment: bytes
    """The pickled environments; a pickled None for the environments of the cluster."""
    head: bytes
    """The part that all calls share, as `calls.pkl` holds it before the arguments."""
    head_at: int
    callbacks: bytes = b""
    dotted_names: bool = False
    """Whether the function takes parameters with dotted names unchanged, and not as nested mappings."""
    blobs: tuple[str, ...] = ()
    """The names of the blobs that hold the files of a command. The blobs are beside the code."""
    inputs: tuple[str, ...] = ()
    """The names of these files in the directory of the program."""

    @property
    def name(self) -> str:
        """The name of the file, without the suffix: equal for equal code, options and environment."""
        known = (self.digest, self.tag, self.modules, self.positional, sorted(self.options.items()), self.blobs)
        return hashlib.sha256(repr(known).encode()).hexdigest()[:20]

    @property
    def settings(self) -> Settings:
        """The options and environment of the task."""
        return Settings(options=Options.parse(self.options), environment=pickle.loads(self.environment))  # noqa: S301 - own file

    def uploads(self, directory: Path) -> Uploads:
        """Return the files that the command needs."""
        found = Uploads()
        for blob in self.blobs:
            found.names.add(blob)
            found.contents[blob] = str(directory / CODE / blob)
        return found

    def arguments(self, params: Mapping[str, Any]) -> Arguments:
        """Return the arguments of a call."""
        rest, args = (dict(params) if self.command or self.dotted_names else nested(params)), []
        for name in self.positional:
            if name not in rest:
                break
            args.append(rest.pop(name))
        return tuple(args), rest

    def calls(self, points: Iterable[Mapping[str, Any]]) -> Calls:
        """Return the pickled calls of `points`."""
        pickles = [pickle.dumps(self.arguments(params), 5) for params in points]
        ends = accumulate(map(len, pickles), initial=len(self.head))
        return Calls(b"".join([self.head, *pickles]), packed([self.head_at, *ends]), self.callbacks)

    def write(self, directory: Path, uploads: Uploads) -> None:
        """Write the code and its files into a sweep, unless they exist."""
        for blob, content in uploads.contents.items():
            path = directory / CODE / blob
            if not path.exists():
                write_once(path, content if isinstance(content, bytes) else Path(content).read_bytes())
        fields = self._asdict()
        for name in ("environment", "head", "callbacks"):
            fields[name] = base64.b64encode(fields[name]).decode()
        write_once(directory / CODE / f"{self.name}.pkl", json.dumps(fields).encode())

    @classmethod
    def read(cls, directory: Path, name: str) -> Code:
        """Read a file of a sweep. Raises ProtocolError, and UntrustedFile if another user could have written it."""
        path = directory / CODE / f"{name}.pkl"
        try:
            with open_own(str(path)) as file:
                fields = json.loads(file.read())
            for field in ("environment", "head", "callbacks"):
                fields[field] = base64.b64decode(fields[field])
            found: dict[str, Any] = {
                field: tuple(v) if isinstance(v, list) else v for field, v in fields.items() if field in cls._fields
            }
            return cls(**found)
        except FileNotFoundError:
            raise ProtocolError(f"{path} is missing: open the sweep with its task, Sweep.open(name, task)") from None
        except (ValueError, TypeError, KeyError) as error:
            raise ProtocolError(f"{path} is not valid: {error}") from error


def code_of(task: Task[..., Any], modules: Collection[str]) -> tuple[Code, Uploads]:
    """Pickle a task for an environment with `modules`; return it with the files that it needs. Raises NotPicklable."""
    uploads = Uploads()
    shared = pickle_function(task, uploads, there=modules)
    found = Code(
        task=task.name,
        digest=value_digest(task) or hashlib.sha256(shared.data).hexdigest(),
        tag=TAG,
        modules=tuple(modules),
        positional=task.places,
        command=is_command(task),
        options=task.options.to_json(),
        environment=cloudpickle.dumps(task.terms.environment),
        head=shared.data,
        head_at=unpacked(shared.offsets)[0],
        callbacks=pickle_callbacks(task.terms.on_a_node().callbacks, reducers=REDUCERS, there=modules),
        dotted_names=_takes_dotted_names(task),
        blobs=uploads.recorded or (),
        inputs=tuple(file.name for file in getattr(task.to_send(uploads), "files", ())) if is_command(task) else (),
    )
    return found, uploads


def check_task(task: Task[..., Any], points: Sequence[Mapping[str, Any]]) -> None:
    """Raise ConfigurationError if a sweep cannot call a task, or the task does not take the parameters of a point."""
    if task.is_workflow:
        raise ConfigurationError(f"{task.name} is a workflow: a sweep calls a task or a command")
    if task.upstreams:
        raise ConfigurationError(f"{task.name}.after(…): a sweep runs at several clusters, so it waits for no job")
    flat = is_command(task) or _takes_dotted_names(task)
    every = points if is_command(task) else {frozenset(params): params for params in points}.values()
    for params in every:
        try:
            task.bound_item(params if flat else nested(params))
        except TypeError as error:
            wrong = unknown_parameters(task, params)
            why = "; ".join(f"{name!r} is {told}" for name, told in wrong.items()) or str(error)
            raise ConfigurationError(f"the parameters {', '.join(params)} do not fit: {why}") from None


def unknown_parameters(task: Task[..., Any], names: Iterable[str]) -> dict[str, str]:
    """Return the names of `names` that the task does not take, each with a text such as "not a parameter of fit"."""
    known = task.signature.parameters
    if any(each.kind is each.VAR_KEYWORD for each in known.values()):
        return {}
    flat = is_command(task) or _takes_dotted_names(task)
    own = [name if flat else name.partition(".")[0] for name in names]
    return {name: f"not a parameter of {task.name}{near(name, known)}" for name in own if name not in known}


def _takes_dotted_names(task: Task[..., Any]) -> bool:
    return bool(getattr(getattr(task, "unwrapped", None), "dotted_names", False))
