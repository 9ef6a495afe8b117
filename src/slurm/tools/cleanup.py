"""Cleanup: move files of attempts that are not the output of a stage to a trash, from which they can be restored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from slurm.errors import NoSuchJob, TransportError
from slurm.protocol import WORK
from slurm.protocol.shell import program
from slurm.protocol.states import JobState
from slurm.tools import submissions
from slurm.tools.submitted import job_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from slurm.clusters.cluster import Cluster
    from slurm.jobs.job import Job
    from slurm.runner.finished import Finished

Verb = Literal["trash", "restore", "empty"]


class Leftover(NamedTuple):
    """The files of an attempt that are not the output of its stage."""

    stage: str
    attempt: int
    key: str
    directory: str
    """The directory of the files at the cluster. In the trash, its name begins with `trash-`."""
    bytes: int
    """The size of the files outside of the trash, in bytes."""


def leftovers(cluster: Cluster, run_dir: Path, stages: Sequence[str]) -> list[Leftover]:
    """Return the leftovers of stages: the files of all ended attempts, except the last attempt that has succeeded."""
    records = submissions.read(run_dir)
    return [left for stage in stages for left in _of_stage(cluster, records, stage)]


def clean(cluster: Cluster, left: Sequence[Leftover], verb: Verb, *, dry_run: bool = False) -> list[Leftover]:
    """Move leftovers to the trash, restore them, or empty the trash; return the leftovers that were changed.

    A dry run returns the leftovers that would be changed. Takes one command. Raises TransportError if it fails.
    """
    if not left:
        return []
    argv = ["sh", "-c", program(__name__, "trash.sh"), "sh", verb, "dry" if dry_run else "really"]
    argv += [each.directory for each in left]
    done = cluster.place.transport.run(argv)
    if done.status:
        raise TransportError(f"not all files of attempts could be moved or removed: {done.words}")
    changed = set(done.stdout.splitlines())
    return [each for each in left if each.directory in changed]


def _of_stage(cluster: Cluster, records: Sequence[Mapping[str, Any]], stage: str) -> Iterator[Leftover]:
    keys = [record["stages"][stage] for record in records if stage in record["stages"]]
    ended = [(number, job) for number, job in enumerate(_jobs(cluster, keys), 1) if job and job.status().state.final]
    succeeded = [number for number, job in ended if job.status().state is JobState.COMPLETED]
    for number, job in ended:
        if number != max(succeeded, default=0):
            size = sum(file.size for file in job.files())
            yield Leftover(stage, number, job.key, f"{job.directory}/{WORK}/{job.index}", size)


def _jobs(cluster: Cluster, keys: Sequence[str]) -> Iterator[Job[Finished] | None]:
    for key in keys:
        try:
            yield job_of(cluster, key)
        except NoSuchJob:
            yield None
