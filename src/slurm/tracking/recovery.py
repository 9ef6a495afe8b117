"""Adoption: the ids of what was queued by a client that died before it had written them down."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from slurm.errors import ConfigurationError, NoSuchJob, ProtocolError, SlurmError, TransportError
from slurm.options import Options
from slurm.protocol import SUBMITTED
from slurm.tracking.deferred import give_up, roll

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.places.place import Backend
    from slurm.protocol import Block
    from slurm.submission.submission_state import SubmissionState

_log = logging.getLogger(__name__)


def complete(backend: Backend, several: Sequence[SubmissionState]) -> None:
    """Learn the ids of submissions that have none yet, and queue what waits for room in the queue.

    Their records may be there by now; if not, the scheduler finds them by their keys, by one command for all that were
    submitted to the same clusters. One that was never queued stays so.
    """
    if unknown := {watched.key: watched for watched in several if not watched.submitted and not watched.refused}:
        _locate(backend, unknown)
    for watched in several:
        if watched.unqueued:
            _roll(backend, watched)


def _locate(backend: Backend, unknown: Mapping[str, SubmissionState]) -> None:
    """Learn the ids of submissions, by key, from their records or from the scheduler. Raises TransportError."""
    unrecorded: dict[str, dict[str, Sequence[Block]]] = {}
    for records in backend.store.read_records(unknown).values():
        if isinstance(records, TransportError):  # else it would seem that it was never queued
            raise records
        if isinstance(records, SlurmError):
            _log.warning("a submission is left out: %s", records)
            continue
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


def _roll(backend: Backend, watched: SubmissionState) -> None:
    """Queue what waits for room in the queue. What is wrong with its records concerns no other submission."""
    try:
        roll(backend, watched)
    except NoSuchJob:  # its directory was removed: nobody will run it
        pass
    except (ProtocolError, ConfigurationError) as error:
        _log.warning("what of %s waits for room can't be queued: %s", watched.key, error)
        if backend.refusals_are_final:
            give_up(backend, watched, error)
    except TransportError as error:
        _log.warning("what of %s waits for room can't be queued now: %s", watched.key, error)
