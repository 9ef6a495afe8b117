"""CallDigests: the digests of the calls of a submission, from the function, the environment and the arguments."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.environments.base import Interpreter
from slurm.environments.current import installed
from slurm.errors import TransportError
from slurm.reuse.digests import FORMAT, Digester
from slurm.reuse.scalars import constant, framed
from slurm.serialization.pickling import is_importable_there, loose_modules_by_value
from slurm.storage.put import Put
from slurm.submission.requests import several_ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    from slurm.options import Options
    from slurm.places.place import Place
    from slurm.protocol import ResolvedEnvironment
    from slurm.serialization.pickling import Arguments, Function, Placeholder

_OF_RANKS = ("gather", "nodes", "ntasks", "ntasks_per_gpu", "ntasks_per_node", "gpus", "gpus_per_task")
"""Options that may change a result, because they change the number of ranks."""


class CallDigests(NamedTuple):
    """The digest of each call, and short digests of the parts that the calls have in common, by name."""

    of_calls: Sequence[bytes]
    parts: Mapping[str, str]


def call_digests(
    place: Place,
    head: Function,
    calls: Sequence[Arguments],
    *,
    defaults: Mapping[str, Any],
    environment: ResolvedEnvironment,
    options: Options,
    replaced: Mapping[type, Callable[[Any], Any]],
) -> CallDigests:
    """Compute the digests of calls. `defaults` are the defaults of the function's parameters. Raises NotReusable.

    The first call asks the interpreter at the place for its packages, unless the environment names them.
    """
    there = environment.modules

    def importable(module: ModuleType) -> bool:
        return is_importable_there(module.__name__, module, there)

    digester = Digester(importable=importable, placeholder=lambda job: _of_job(place, job), replaced=replaced)
    with loose_modules_by_value(there):
        return _call_digests(place, digester, head, calls, defaults=defaults, environment=environment, options=options)


def _call_digests(
    place: Place,
    digester: Digester,
    head: Function,
    calls: Sequence[Arguments],
    *,
    defaults: Mapping[str, Any],
    environment: ResolvedEnvironment,
    options: Options,
) -> CallDigests:
    ranks = [(name, str(options.get(name))) for name in _OF_RANKS] if several_ranks(options) else []
    variables = [(f"env {name}", "unset" if text is None else f"={text}") for name, text in sorted(options.env.items())]
    setup = [("setup", str(options.get("setup")))] if options.get("setup") else []
    common = {
        "the function": digester.value(head.function, f"the function {head.name}"),
        "the environment": sha256(
            constant((*_environment(place, environment), *ranks, *variables, *setup, head.context))
        ).digest(),
    }
    base = sha256(FORMAT + b"".join(common.values()))
    columns: dict[str, set[bytes]] = {}
    of_calls: list[bytes] = []
    for args, kwargs in calls:
        digest = base.copy()
        for name, value in _named(head.parameters, args, kwargs, defaults):
            found = digester.value(value, f"argument {name} of {head.name}")
            digest.update(framed(b"k", name.encode()) + found)
            columns.setdefault(name, set()).add(found)
        of_calls.append(digest.digest())
    arguments = {f"argument {name}": sha256(b"".join(sorted(some))).digest() for name, some in columns.items()}
    inner = {f"the function: {name}": digest for name, digest in digester.parts(head.function).items()}
    return CallDigests(of_calls, {name: _short(digest) for name, digest in {**common, **arguments, **inner}.items()})


def _named(
    parameters: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any], defaults: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """Return the arguments by name, with defaults for omitted ones, so that f(1) and f(x=1) are the same call."""
    named = dict(zip(parameters, args, strict=False))
    more = [(f"*{number}", value) for number, value in enumerate(args[len(parameters) :])]
    return [*sorted({**defaults, **named, **kwargs}.items()), *more]


def _short(digest: bytes) -> str:
    return base64.b32encode(digest[:10]).decode().lower()


def _environment(place: Place, environment: ResolvedEnvironment) -> tuple[str, ...]:
    """Return what identifies an environment: its key, and for an existing interpreter also its packages."""
    digest = environment.digest or _installed(place, environment)
    return (environment.key, environment.tag, digest, *environment.setup)


_packages: dict[tuple[str, str, str, tuple[str, ...]], str] = {}


def _installed(place: Place, environment: ResolvedEnvironment) -> str:
    """Return the digest of the packages of an interpreter, which each process asks once. Raises TransportError."""
    is_current = place.probe.python.status == 0 and environment.key == place.current.key
    if is_current and environment.setup == place.spec.setup and place.packages:
        return place.packages
    name = (str(place.url), place.store.root, environment.python, environment.setup)
    if name not in _packages:
        done = place.probe.ask(installed(Interpreter(environment.python, environment.setup)))
        if done.status != 0:
            raise TransportError(f"the packages of {environment.python} cannot be listed: {done.words}")
        _packages[name] = done.stdout.strip()
    return _packages[name]


def _of_job(place: Place, job: Placeholder) -> bytes:
    """Return the digest of a job among the arguments.

    This is the digest of its call if its task reuses results, or else of its key. A file or value that was put
    (`Put`) counts by its kind and its content.
    """
    if isinstance(job, Put):
        return sha256(framed(b"put", job.identity.encode())).digest()
    if job.several:
        return sha256(b"array" + b"".join(_of_calls(place, part) for part in job.several)).digest()
    found = _of_calls(place, job)
    return found if job.reference.kind == "job" else sha256(b"array" + found).digest()


def _of_calls(place: Place, job: Placeholder) -> bytes:
    reference = job.reference
    entry = place.reuse_records.entry(reference.key)
    if entry is None:
        place.reuse_records.refresh(reference.key)
        entry = place.reuse_records.entry(reference.key)
    if entry is None:
        key = framed(b"K", reference.key.encode())
        return b"".join(sha256(key + str(index).encode()).digest() for index in reference.indices)
    return b"".join(entry.digests[index] for index in reference.indices)
