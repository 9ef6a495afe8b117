"""Putting: send an object to a place once, for all calls that have it as an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.jobs.reuse import value_digest
from slurm.storage import put as storage
from slurm.storage.uploads import Uploads
from slurm.tasks.task import REDUCERS

if TYPE_CHECKING:
    from typing import Any

    from slurm.places.place import Place
    from slurm.storage.put import Put


def put(place: Place, value: Any, *, home: str) -> Put:
    """Send an object, or the file or directory of a `Path`, unless the place has it. `home` is the cluster's URL."""
    uploads = Uploads()
    made = storage.put(value, uploads, home=home, reducers=REDUCERS, digest=value_digest)
    place.blobs.send(uploads)
    return made
