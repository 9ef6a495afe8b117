"""Explanation: say why a call was submitted although its task reuses results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.errors import NoSuchJob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slurm.places.place import Place
    from slurm.storage.reuse_records import Entry

_FUNCTION = "the function"


def explain(place: Place, key: str) -> list[str]:
    """Compare a submission with the most similar earlier one; return the differences, a line for each part.

    Raises NoSuchJob if its task did not reuse results.
    """
    records = place.reuse_records
    records.refresh(key)
    entry = records.entry(key)
    if entry is None:
        raise NoSuchJob(
            f"{key} has no record of reuse under {place.store.root}: its task was submitted without reuse=True"
        )
    before = [other for other in records.entries(key) if other.number < entry.number]
    again = [other for other in before if set(other.digests) & set(entry.digests)]
    if again:
        common = len(set(again[-1].digests) & set(entry.digests))
        words = (
            f"{common} of {len(entry.digests)} calls were computed anew. {again[-1].record.key} is of the same calls: "
            'they had failed or were removed, or reuse="refresh" was given'
        )
        return [words]
    if not before:
        return ["it is the first submission of its task with reuse=True"]
    nearest = min(before, key=lambda other: (len(_changed(other, entry)), -other.number))
    changed = _changed(nearest, entry)
    if not changed:
        return [f"its calls are new: since {nearest.record.key}, no part has changed in all of them"]
    return [f"since {nearest.record.key}:", *(f"{name} {how}" for name, how in changed.items())]


def _changed(before: Entry, after: Entry) -> Mapping[str, str]:
    """Return the parts that differ, and how. The whole function is named only if no part of it differs."""
    old, new = before.record.parts, after.record.parts
    found = {name: "has changed" for name in old if name in new and old[name] != new[name]}
    found |= {name: "is new" for name in new if name not in old}
    found |= {name: "is gone" for name in old if name not in new}
    if any(name.startswith(f"{_FUNCTION}: ") for name in found):
        found.pop(_FUNCTION, None)
    return found
