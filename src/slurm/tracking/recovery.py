"""Recovery: find the ids of submissions whose client died before it recorded them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from slurm.errors import ConfigurationError, NoSuchJob, ProtocolError, SlurmError, TransportError
from slurm.options import Options
from slurm.protocol import SUBMITTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.protocol import Block
    from slurm.storage.job_store import JobStore
    from slurm.submission.job_queue import JobQueue
    from slurm.submission.registry import SubmissionRegistry
    from slurm.submission.submission_state import SubmissionState
    from slurm.tracking.deferred import DeferredSubmission

_log = logging.getLogger(__name__)


class Recovery:
    """Completes submissions whose client died while it submitted them."""

    def __init__(
        self, store: JobStore, queue: JobQueue, registry: SubmissionRegistry, deferred: DeferredSubmission
    ) -> None:
        self._store, self._queue, self._registry, self._deferred = store, queue, registry, deferred

    def complete(self, several: Sequence[SubmissionState]) -> None:
        """Find the ids of submissions that have none, and queue elements that wait for room in the queue.

        The records with the ids may exist by now. If not, the scheduler finds the submissions by their keys, with one
        command for all that were submitted to the same clusters. A submission that was never queued stays without ids.
        """
        if unknown := {watched.key: watched for watched in several if not watched.submitted and not watched.refused}:
            self._locate(unknown)
        for watched in several:
            try:  # damaged records of one submission must not affect other submissions
                if watched.unqueued:
                    self._deferred.advance(watched)
            except NoSuchJob:  # its directory was removed, so nothing can run it
                pass
            except (ProtocolError, ConfigurationError) as error:
                _log.warning("the waiting elements of %s cannot be queued: %s", watched.key, error)
                self._deferred.give_up(watched, error)
            except TransportError as error:
                _log.warning("the waiting elements of %s cannot be queued now: %s", watched.key, error)

    def _locate(self, unknown: Mapping[str, SubmissionState]) -> None:
        """Find the ids of submissions, by key, in their records or by the scheduler. Raises TransportError."""
        unrecorded: dict[str, dict[str, Sequence[Block]]] = {}
        for records in self._store.read_records(unknown).values():
            if isinstance(records, TransportError):  # otherwise, the submission would count as never queued
                raise records
            if isinstance(records, SlurmError):
                _log.warning("cannot read the records of a submission: %s", records)
                continue
            watched = self._registry.add(*records)
            if not watched.submitted and not watched.refused:
                clusters = str(Options.parse(records.submission.options).get("clusters") or "")
                unrecorded.setdefault(clusters, {})[watched.key] = self._queue.blocks(records.submission)
        for clusters, some in unrecorded.items():
            found = self._queue.client.recover(
                some, lambda key: f"{self._store.directory(key)}/{SUBMITTED}", clusters=clusters
            )
            for key, submitted in found.items():
                unknown[key].learn_records(submitted)
