"""One cluster of a Slurmfile, as it is written: its own keys, before anything that it extends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import ClusterURLError, OptionError
from slurm.options import NONE, OURS, SBATCH, Options
from slurm.options import values as kinds
from slurm.slurmfile.callbacks import read_callbacks
from slurm.slurmfile.environment import shown
from slurm.slurmfile.places import truth
from slurm.url import ClusterURL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.slurmfile.callbacks import Named
    from slurm.slurmfile.places import Place, Reader

KEYS = (
    *("extends", "url", "root", "python", "environment", "login_shell"),
    *("modules", "setup", "callbacks", "options"),
)
_ADDRESS = re.compile(r"(\w://)[^\s,}\]]+")
"""A URL among a callback's arguments: that of a webhook is a secret as a whole."""
_TEXTS, _LISTS = ("url", "root", "python"), ("modules", "setup")


class Entry(NamedTuple):
    """The keys of one cluster that are right, and where each stands."""

    name: str
    place: Place
    extends: str | None
    values: Mapping[str, str | bool | None]
    """Of the keys that have one value; None for null, which takes an extended one's value back."""
    lists: Mapping[str, list[tuple[str, Place]]]
    callbacks: list[Named]
    options: Options
    places: Mapping[str, Place]
    option_places: Mapping[str, Place]
    """By the option's name; raw ones by `sbatch.` and theirs."""
    sound: bool
    """Whether nothing in it is wrong."""


def read_entry(reader: Reader, place: Place) -> Entry:
    """Read one cluster; what is wrong goes to the reader's problems."""
    before = len(reader.problems)
    keys = reader.mapping(place, KEYS)
    values: dict[str, str | bool | None] = {key: reader.text(keys[key]) for key in _TEXTS if key in keys}
    if "login_shell" in keys:
        values["login_shell"] = reader.truth(keys["login_shell"])
    if "environment" in keys:
        values["environment"] = shown(reader, keys["environment"])
    lists = {key: reader.texts(keys.get(key), lines=key == "setup") for key in _LISTS}
    callbacks = read_callbacks(reader, keys.get("callbacks"))
    texts = [(shown(reader, named.place) or "", named.place) for named in callbacks]
    lists["callbacks"] = [(_ADDRESS.sub(r"\1***", text), place) for text, place in texts]
    try:
        ClusterURL.parse(str(values.get("url") or "local"))
    except ClusterURLError as error:
        reader.refuse(keys["url"], str(error))
    options, option_places = _options(reader, keys.get("options"))
    return Entry(
        name=place.key.partition(".")[2],
        place=place,
        extends=reader.text(keys.get("extends")),
        values=values,
        lists=lists,
        callbacks=callbacks,
        options=options,
        places=keys,
        option_places=option_places,
        sound=len(reader.problems) == before,
    )


def _options(reader: Reader, place: Place | None) -> tuple[Options, Mapping[str, Place]]:
    """The options of a cluster, each checked by itself, and then all together; and where each stands."""
    found: dict[str, Any] = {}
    places: dict[str, Place] = {}
    for name, entry in reader.mapping(place).items():
        if name == "sbatch":
            raws = {raw: (at, _value(reader, raw, at)) for raw, at in reader.mapping(entry).items()}
            good = {raw: value for raw, (at, value) in raws.items() if _right(reader, at, {"sbatch": {raw: value}})}
            places |= {f"sbatch.{raw}": raws[raw][0] for raw in good}
            found["sbatch"] = good
        elif _right(reader, entry, {name: None}):
            before, value = len(reader.problems), _value(reader, name, entry)
            if len(reader.problems) == before and _right(reader, entry, {name: value}):
                places[name] = entry
                found[name] = value
    if place is not None and not _right(reader, place, found):
        return NONE, places
    return Options.parse(found), places


def _right(reader: Reader, place: Place, options: Mapping[str, Any]) -> bool:
    try:
        Options.parse(options)
    except OptionError as error:
        reader.refuse(place, str(error))
        return False
    return True


def _value(reader: Reader, name: str, place: Place) -> Any:
    """An option's value, as `Options` takes it: texts, lists of texts, truths where a flag may stand, None.

    That of `retry` may be a mapping of such.
    """
    import yaml  # noqa: PLC0415 - costs as much as all of this package

    if name == "retry" and isinstance(place.node, yaml.MappingNode):
        return {key: _value(reader, "", entry) for key, entry in reader.mapping(place).items()}
    if isinstance(place.node, yaml.SequenceNode):
        return [text for text, _ in reader.texts(place)]
    text = reader.text(place)
    if text is None or (text == "~" and reader.is_plain(place)):
        return None
    return truth(text) if {**SBATCH, **OURS}.get(name) in (kinds.flag, kinds.flag_or_text, None) else text
