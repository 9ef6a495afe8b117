"""Chain: single calls that are submitted by one command. Later calls may depend on earlier ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from slurm.jobs.job import JobArray
from slurm.jobs.queueing import Planned, queue_chain
from slurm.jobs.submit import Wanted, describe, submit_draft

if TYPE_CHECKING:
    from slurm.clusters.cluster import Cluster
    from slurm.jobs.job import Job
    from slurm.jobs.queueing import Record
    from slurm.serialization.pickling import Arguments
    from slurm.storage.uploads import Uploads
    from slurm.tasks.task import Task

R = TypeVar("R")


class Chain:
    """Calls of a cluster that are submitted together, each with its own options, and a key that the caller chooses.

    A workflow submits each call as it is added, because it looks for each call that an earlier attempt has submitted.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._place = cluster, cluster.place
        self._planned: list[Planned] = []
        self._uploads: list[Uploads] = []
        self._jobs: list[JobArray[Any]] = []

    def add(self, key: str, of: Task[..., R, Any], call: Arguments, *, record: Record) -> Job[R]:
        """Add a bound call under a key that the caller has recorded. Returns its job, which has no id until `submit`.

        `record` is called with the key and the commands just before anything is queued. In the commands, an id that is
        not known yet is `<id of KEY>`. Raises what a call raises.
        """
        cluster = self._cluster
        wanted = Wanted(of, [call], False, *cluster._prepare(of), cluster.settings, key)  # noqa: SLF001 - of this package
        draft, callbacks = describe(self._place, wanted), wanted.settings.callbacks
        if self._place.on_node and self._place.on_node.journal:
            return cluster._jobs_of(submit_draft(self._place, draft, callbacks, record=record))[0]  # noqa: SLF001
        self._uploads.append(draft.uploads)
        self._planned.append(Planned(draft.submission, draft.calls, draft.options, callbacks, record))
        state = self._place.registry.add(draft.submission, None)
        jobs: JobArray[R] = JobArray(self._place, state, range(1))
        self._jobs.append(jobs)
        return jobs[0]

    def submit(self) -> None:
        """Submit the calls, in order. Raises what a call raises; jobs that were queued before the error have ids."""
        if self._planned:
            self._place.blobs.send(*self._uploads)
            try:
                queue_chain(self._place, self._planned)
            finally:
                self._cluster._note_jobs(jobs for jobs in self._jobs if jobs.part.state.submitted)  # noqa: SLF001
