"""Find the place of a submission by its records: submissions to several schedulers may have the same root."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from slurm.errors import PluginNotFound

if TYPE_CHECKING:
    from slurm.places.place import Place
    from slurm.storage.job_store import Records

_log = logging.getLogger(__name__)


def place_of(place: Place, records: Records, *, everywhere: bool) -> Place | None:
    """The place of a submission under the root of a place.

    Returns None if it belongs to another scheduler, unless `everywhere`. Also returns None, with a warning, if this
    program does not have the scheduler of the submission.
    """
    if not everywhere and not place.has(records):
        return None
    try:
        return place.of(records)
    except PluginNotFound as error:
        _log.warning("%s is left out: %s", records.submission.key, error)
        return None
