"""Search: the submissions of some keys, read together, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.jobs.job import handle
from slurm.options.labels import has as has_labels
from slurm.storage.keys import in_whole_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from slurm.jobs.job import Job, JobArray
    from slurm.places.place import Place


def newest_first(
    place: Place, keys: Sequence[str], *, at_once: int, labels: Mapping[str, str | None], everywhere: bool = False
) -> Iterator[list[Job[Any] | JobArray[Any]]]:
    """Yield the jobs of keys that are sorted by time, in groups: first at least `at_once` keys, then larger groups.

    Leaves out submissions without the labels, and, unless `everywhere`, submissions to another scheduler under the same
    root. Reads the records of a group together.
    """
    for some in in_whole_seconds(keys, at_once):
        read = place.store.several_records(some)
        found = [r for r in read if has_labels(r.submission.labels or {}, labels)]
        found.sort(key=lambda records: records.submission.created, reverse=True)
        places = [(place.owner(records, everywhere=everywhere), records) for records in found]
        yield [handle(at, at.registry.add(*records)) for at, records in places if at is not None]
