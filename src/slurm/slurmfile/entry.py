"""One cluster of a Slurmfile as written: its own keys, without the keys that it inherits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import ClusterURLError, OptionError
from slurm.options import NONE, OURS, SBATCH, Options
from slurm.options import values as kinds
from slurm.slurmfile.callbacks import read_callbacks
from slurm.slurmfile.environment import shown
from slurm.slurmfile.reader import truth
from slurm.url import ClusterURL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.slurmfile.callbacks import CallbackSpec
    from slurm.slurmfile.reader import Location, Reader

KEYS = (
    *("extends", "url", "root", "python", "environment", "login_shell"),
    *("modules", "setup", "callbacks", "options"),
)
_URL = re.compile(r"(\w://)[^\s,}\]]+")
"""A URL among the arguments of a callback. The whole URL of a webhook is a secret."""
_TEXTS, _LISTS = ("url", "root", "python"), ("modules", "setup")


class Entry(NamedTuple):
    """The valid keys of one cluster, and the location of each."""

    name: str
    location: Location
    extends: str | None
    values: Mapping[str, str | bool | None]
    """Keys with a single value. None stands for null, which resets an inherited value."""
    lists: Mapping[str, list[tuple[str, Location]]]
    callbacks: list[CallbackSpec]
    options: Options
    locations: Mapping[str, Location]
    option_locations: Mapping[str, Location]
    """Option name -> location. Names of raw options begin with `sbatch.`, those of labels with `labels.`."""
    sound: bool
    """Whether the entry has no error."""


def read_entry(reader: Reader, location: Location) -> Entry:
    """Read one cluster. Errors go to the reader's problems."""
    before = len(reader.problems)
    keys = reader.mapping(location, KEYS)
    values: dict[str, str | bool | None] = {key: reader.text(keys[key]) for key in _TEXTS if key in keys}
    if "login_shell" in keys:
        values["login_shell"] = reader.truth(keys["login_shell"])
    if "environment" in keys:
        values["environment"] = shown(reader, keys["environment"])
    lists = {key: reader.texts(keys.get(key), lines=key == "setup") for key in _LISTS}
    callbacks = read_callbacks(reader, keys.get("callbacks"))
    texts = [(shown(reader, spec.location) or "", spec.location) for spec in callbacks]
    lists["callbacks"] = [(_URL.sub(r"\1***", text), location) for text, location in texts]
    try:
        ClusterURL.parse(str(values.get("url") or "local"))
    except ClusterURLError as error:
        reader.refuse(keys["url"], str(error))
    options, option_locations = read_options(reader, keys.get("options"))
    return Entry(
        name=location.key.partition(".")[2],
        location=location,
        extends=reader.text(keys.get("extends")),
        values=values,
        lists=lists,
        callbacks=callbacks,
        options=options,
        locations=keys,
        option_locations=option_locations,
        sound=len(reader.problems) == before,
    )


def read_options(reader: Reader, location: Location | None) -> tuple[Options, Mapping[str, Location]]:
    """Read options and their locations. Checks each option alone, then all together."""
    found: dict[str, Any] = {}
    locations: dict[str, Location] = {}
    for name, entry in reader.mapping(location).items():
        if name == "sbatch" or (name in ("labels", "env") and entry.kind == "mapping"):
            read = _value if name == "sbatch" else _text_or_null
            raws = {raw: (at, read(reader, raw, at)) for raw, at in reader.mapping(entry).items()}
            good = {raw: value for raw, (at, value) in raws.items() if _right(reader, at, {name: {raw: value}})}
            locations |= {f"{name}.{raw}": raws[raw][0] for raw in good}
            found[name] = good
        elif _right(reader, entry, {name: None}):
            before, value = len(reader.problems), _value(reader, name, entry)
            if len(reader.problems) == before and _right(reader, entry, {name: value}):
                locations[name] = entry
                found[name] = value
    if location is not None and not _right(reader, location, found):
        return NONE, locations
    return Options.parse(found), locations


def _right(reader: Reader, location: Location, options: Mapping[str, Any]) -> bool:
    try:
        Options.parse(options)
    except OptionError as error:
        reader.refuse(location, str(error))
        return False
    return True


def _text_or_null(reader: Reader, name: str, location: Location) -> str | None:
    """Read the value of a label or a variable: text, even if it looks like a number or a boolean; null unsets it."""
    del name
    text = reader.text(location)
    return None if text == "~" and reader.is_plain(location) else text


def _value(reader: Reader, name: str, location: Location) -> Any:
    """Read the value of an option for `Options.parse`: text, a list of texts, a boolean for a flag, or None.

    The value of `retry` may be a mapping of such values.
    """
    if name == "retry" and location.kind == "mapping":
        return {key: _value(reader, "", entry) for key, entry in reader.mapping(location).items()}
    if location.kind == "sequence":
        return [text for text, _ in reader.texts(location)]
    text = reader.text(location)
    if text is None or (text == "~" and reader.is_plain(location)):
        return None
    return truth(text) if {**SBATCH, **OURS}.get(name) in (kinds.flag, kinds.flag_or_text, kinds.reuse, None) else text
