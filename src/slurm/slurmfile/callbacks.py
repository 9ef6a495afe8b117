"""Callbacks of a Slurmfile's cluster: dotted paths of classes, with optional arguments."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.callbacks.base import checked
from slurm.errors import SlurmfileError
from slurm.sanitize.redaction import HIDDEN, redacted
from slurm.slurmfile.reader import Problem, truth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurm.callbacks.base import Callback
    from slurm.slurmfile.reader import Location, Reader

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_NUMBER = re.compile(r"[-+]?\d+(?P<fraction>\.\d*)?")


class CallbackSpec(NamedTuple):
    """A callback as written in the file; its class is not imported yet."""

    path: str
    arguments: Mapping[str, Any]
    location: Location


def read_callbacks(reader: Reader, location: Location | None) -> list[CallbackSpec]:
    """Read a list of callbacks. Errors go to the reader's problems."""
    found = [_one(reader, item) for item in reader.items(location)]
    return [spec for spec in found if spec is not None]


def _one(reader: Reader, location: Location) -> CallbackSpec | None:
    arguments: Mapping[str, Location] = {}
    path = ""
    if location.kind == "mapping":
        entries = list(reader.mapping(location).items())
        if len(entries) == 1:
            path, arguments = entries[0][0], reader.mapping(entries[0][1])
    else:
        path = reader.text(location) or ""
    if not _DOTTED.fullmatch(path):
        advice = (
            "expected a dotted path, such as my_package.callbacks.Notify, or one with arguments, `path: {name: value}`"
        )
        reader.refuse(location, f"{path!r}: {advice}" if path else advice)
        return None
    return CallbackSpec(path, {name: _value(reader, entry) for name, entry in arguments.items()}, location)


def _value(reader: Reader, location: Location) -> Any:
    """Read an argument. Without quotes, yes and no are booleans and digits are numbers; the rest is text."""
    if location.kind == "mapping":
        return {name: _value(reader, entry) for name, entry in reader.mapping(location).items()}
    if location.kind == "sequence":
        return [_value(reader, item) for item in reader.items(location)]
    text = reader.text(location)
    if text is None or not reader.is_plain(location):
        return text
    number = _NUMBER.fullmatch(text)
    return truth(text) if number is None else float(text) if number["fraction"] else int(text)


def make(several: Iterable[CallbackSpec]) -> tuple[Callback, ...]:
    """Import and construct the callbacks. Raises SlurmfileError, which names the line."""
    return tuple(_made(spec) for spec in several)


def _made(spec: CallbackSpec) -> Callback:
    module, _, name = spec.path.rpartition(".")
    try:
        return checked([getattr(import_module(module), name)(**spec.arguments)])[0]
    except Exception as error:  # noqa: BLE001 - the class is the user's
        text = f"{spec.path}: {type(error).__name__}: {error}"
        message = _without_urls(text, spec.arguments.values())
        problem = Problem(spec.location.file, spec.location.line, spec.location.key, message)
        raise SlurmfileError(str(problem), [problem]) from (error if message == text else None)


def _without_urls(text: str, arguments: Iterable[object]) -> str:
    """Hide the URLs among the arguments of a callback: a webhook's URL is a secret."""
    for argument in arguments:
        if isinstance(argument, str) and "://" in argument:
            text = text.replace(argument, HIDDEN)
    return redacted(text)
