"""The callbacks of a Slurmfile's cluster: dotted paths of classes, with arguments or without."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.callbacks.base import checked
from slurm.errors import SlurmfileError
from slurm.sanitize.redaction import HIDDEN, redacted
from slurm.slurmfile.places import Problem, truth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slurm.callbacks.base import Callback
    from slurm.slurmfile.places import Place, Reader

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_NUMBER = re.compile(r"[-+]?\d+(?P<fraction>\.\d*)?")


class Named(NamedTuple):
    """A callback as it is written: nothing of it is imported yet."""

    path: str
    arguments: Mapping[str, Any]
    place: Place


def read_callbacks(reader: Reader, place: Place | None) -> list[Named]:
    """The callbacks of a list, those that are right; what is wrong goes to the reader's problems."""
    found = [_one(reader, item) for item in reader.items(place)]
    return [named for named in found if named is not None]


def _one(reader: Reader, place: Place) -> Named | None:
    import yaml  # noqa: PLC0415 - costs as much as all of this package

    arguments: Mapping[str, Place] = {}
    path = ""
    if isinstance(place.node, yaml.MappingNode):
        entries = list(reader.mapping(place).items())
        if len(entries) == 1:
            path, arguments = entries[0][0], reader.mapping(entries[0][1])
    else:
        path = reader.text(place) or ""
    if not _DOTTED.fullmatch(path):
        words = (
            "expected a dotted path, such as my_package.callbacks.Notify, or one with arguments, `path: {name: value}`"
        )
        reader.refuse(place, f"{path!r}: {words}" if path else words)
        return None
    return Named(path, {name: _value(reader, entry) for name, entry in arguments.items()}, place)


def _value(reader: Reader, place: Place) -> Any:
    """An argument: text, but where there are no quotes yes and no are truths and digits are numbers."""
    import yaml  # noqa: PLC0415 - as above

    if isinstance(place.node, yaml.MappingNode):
        return {name: _value(reader, entry) for name, entry in reader.mapping(place).items()}
    if isinstance(place.node, yaml.SequenceNode):
        return [_value(reader, item) for item in reader.items(place)]
    text = reader.text(place)
    if text is None or not reader.is_plain(place):
        return text
    number = _NUMBER.fullmatch(text)
    return truth(text) if number is None else float(text) if number["fraction"] else int(text)


def make(several: Iterable[Named]) -> tuple[Callback, ...]:
    """The callbacks themselves, imported and made. Raises SlurmfileError, which names the line."""
    return tuple(_made(named) for named in several)


def _made(named: Named) -> Callback:
    module, _, name = named.path.rpartition(".")
    try:
        return checked([getattr(import_module(module), name)(**named.arguments)])[0]
    except Exception as error:  # noqa: BLE001 - a class of the user's own
        told = f"{named.path}: {type(error).__name__}: {error}"
        words = _without_addresses(told, named.arguments.values())
        problem = Problem(named.place.file, named.place.line, named.place.key, words)
        raise SlurmfileError(str(problem), [problem]) from (error if words == told else None)


def _without_addresses(words: str, arguments: Iterable[object]) -> str:
    """An error's words without the URLs that a callback was given."""
    for argument in arguments:
        if isinstance(argument, str) and "://" in argument:
            words = words.replace(argument, HIDDEN)
    return redacted(words)
