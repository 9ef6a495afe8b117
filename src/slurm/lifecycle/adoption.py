"""Adoption: the ids of what was queued by a client that died before it had written them down."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from slurm.errors import NoSuchJob
from slurm.lifecycle.rolling import roll
from slurm.options import Options
from slurm.protocol import SUBMITTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.backend import Backend
    from slurm.lifecycle.watched import Watched
    from slurm.protocol import Block


def complete(backend: Backend, several: Sequence[Watched]) -> None:
    """Learn the ids of submissions that have none yet, and queue what waits for room in the queue.

    Their records may be there by now; if not, the scheduler finds them by their keys, by one command for all that were
    submitted to the same clusters. One that was never queued stays so.
    """
    unknown = {watched.key: watched for watched in several if not watched.submitted and not watched.refused}
    unrecorded: dict[str, dict[str, Sequence[Block]]] = {}
    for records in backend.store.several_records(list(unknown)) if unknown else ():
        watched = backend.tracker.watch(*records)
        if not watched.submitted and not watched.refused:
            clusters = str(Options.parse(records.submission.options).get("clusters") or "")
            unrecorded.setdefault(clusters, {})[watched.key] = backend.blocks(records.submission)
    for clusters, some in unrecorded.items():
        found = backend.controller.adopt(
            some, lambda key: f"{backend.store.directory(key)}/{SUBMITTED}", clusters=clusters
        )
        for key, submitted in found.items():
            unknown[key].submitted = submitted
    for watched in several:
        if watched.unqueued:
            with contextlib.suppress(NoSuchJob):  # its directory was removed: nobody will run it
                roll(backend, watched)
