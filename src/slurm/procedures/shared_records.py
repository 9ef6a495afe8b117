"""Shared records: the records that all procedures of a root share: overrides of operators, and exclusive slots."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from slurm.errors import ConfigurationError, TransportError
from slurm.procedures.errors import CommandRefused
from slurm.procedures.preparing import checked_json, make_context
from slurm.protocol.procedures import CONTEXT, SLOTS, Override, SlotRecord, is_name, record_numbers
from slurm.storage.commit import commit_same
from slurm.storage.inbox import append, sender

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.places.place import Place
    from slurm.protocol import Document

R = TypeVar("R", bound="Document")


def checked_name(name: str, what: str) -> str:
    """Return the name of a slot or a topic if it is valid. Raises ConfigurationError if it is not."""
    if not is_name(name):
        raise ConfigurationError(f"{what}={name!r}: write letters, digits, '.', '_' and '-'")
    return name


def publish(place: Place, topic: str, values: Mapping[str, Any]) -> int:
    """Write the values of a topic, and return the number of the change.

    Raises ConfigurationError, ProcedureError for values that are not JSON, and TransportError.
    """
    checked_name(topic, "topic")
    checked_json(values, f"the values of {topic}")
    make_context(place)
    record = Override(id=os.urandom(8).hex(), values=values, by=sender(), time=time.time())
    return append(place.transport, f"{place.store.root}/{CONTEXT}/{topic}", record.dumps())


def overrides(place: Place) -> dict[str, Mapping[str, Any]]:
    """Return the last values of each topic."""
    top = f"{place.store.root}/{CONTEXT}"
    topics = [name for name in place.transport.list([top])[top] if name[0] != "." and name != "bell"]
    found = _last(place, {topic: f"{top}/{topic}" for topic in topics}, Override)
    return {topic: record.values for topic, (_, record) in sorted(found.items())}


class Release(NamedTuple):
    """The result of a release: the slot is free now."""

    holder: str | None
    """The key of the procedure that held the slot; None if nobody held it."""
    by: str | None
    """Who has released the slot, now or earlier; None if nobody has."""
    time: float | None


def release(place: Place, slot: str) -> Release:
    """Record that a slot is free, by whom and when, unless nobody holds it.

    Raises CommandRefused if another process takes or releases the slot meanwhile: then nothing changes.
    """
    directory = f"{place.store.root}/{SLOTS}/{slot}"
    number, record = _last(place, {slot: directory}, SlotRecord).get(slot, (0, None))
    if record is None:
        return Release(None, None, None)
    if record.key is None:
        return Release(None, record.by, record.time)
    released = SlotRecord(released=number, by=sender(), time=time.time())
    # Only with this number: a later number could free the slot while a procedure that has just taken it runs.
    name = f"{number + 1}.json"
    if name not in commit_same(place.transport, {directory: [name]}, released.dumps().decode())[directory]:
        raise CommandRefused(
            f"the slot {slot!r} was taken or released at the same moment, and nothing has changed: look again"
        )
    return Release(record.key, released.by, released.time)


def _last(place: Place, directories: Mapping[str, str], kind: type[R]) -> dict[str, tuple[int, R]]:
    """Return the record with the highest number in each directory, and the number, by name. Raises TransportError."""
    listed = place.transport.list(list(directories.values()))
    numbers = {name: max(record_numbers(listed[path]), default=0) for name, path in directories.items()}
    paths = {name: f"{directories[name]}/{number}.json" for name, number in numbers.items() if number}
    files = place.transport.get(list(paths.values()), private=True)
    missing = [path for path in paths.values() if path not in files]
    if missing:
        raise TransportError(f"{missing[0]} cannot be read: it was removed")
    return {name: (numbers[name], kind.loads(files[path], where=path)) for name, path in paths.items()}
