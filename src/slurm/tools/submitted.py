"""Submitted: check earlier submissions of a run before a new one, and record the new one."""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

from slurm.errors import NoSuchJob
from slurm.protocol.states import JobState
from slurm.storage.fencing import cancelled_outcome, fence_elements
from slurm.submission.client import process
from slurm.submission.status import JobStatus
from slurm.tools import submissions
from slurm.tools.attempts import link
from slurm.tools.clusters import place_url
from slurm.tools.errors import AlreadySubmitted, ToolError
from slurm.views.status import Part, statuses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from slurm.clusters.cluster import Cluster
    from slurm.jobs.job import Job
    from slurm.places.place import Place
    from slurm.runner.finished import Finished
    from slurm.tools.attempts import Left
    from slurm.tools.declaration import Declaration

_NEVER_QUEUED = (JobState.REFUSED, JobState.LOST)
_FORGOTTEN = (JobState.LOST, JobState.UNKNOWN)

_log = logging.getLogger(__name__)


def job_of(cluster: Cluster, key: str) -> Job[Finished]:
    """Return the job of a stage. Raises NoSuchJob."""
    return cast("Job[Finished]", cluster.job(key))


def new_record(
    keys: Mapping[str, str],
    upstreams: Mapping[str, Mapping[str, str]],
    cluster: Cluster,
    *,
    name: str | None,
    again: bool,
    left: Mapping[str, Left],
    depend_afterok: Sequence[str | int],
) -> dict[str, Any]:
    """Return the record of a submission, which is written before anything is queued."""
    return {
        "stages": keys,
        "upstreams": upstreams,
        "url": place_url(cluster),
        "cluster": name,
        "submitted_utc": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "client": process(),
        "depend_afterok": [str(job) for job in depend_afterok],
        "why": "resume" if left else "again" if again else "submit",
        "resumes": {name: found._asdict() for name, found in left.items()},
    }


def upstream_keys(tool: type[Declaration], stages: Sequence[str], keys: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the keys of the jobs that each stage waits for. Raises ToolError if one of them was not submitted."""
    found = {stage: tool.stages[stage].upstreams(tool.stages) for stage in stages}
    for stage, names in found.items():
        if missing := [name for name in names if name not in keys]:
            raise ToolError(
                f"stage {stage} of {tool.name} runs after {', '.join(missing)}, which was not submitted: submit it, too"
            )
    return {stage: {name: keys[name] for name in names} for stage, names in found.items()}


def upstream_job(run_dir: Path, cluster: Cluster, stage: str, key: str) -> Job[Finished]:
    """Return the job of a stage that another stage needs. Raises ToolError if its directory was removed, or it was
    never queued.
    """
    try:
        return job_of(cluster, key)
    except NoSuchJob:
        raise ToolError(
            f"stage {stage} of {run_dir} is needed, and its job {key} is not there any more, or was never queued: "
            f"submit it once more, again=True"
        ) from None


def states_of(place: Place, records: Sequence[Mapping[str, Any]]) -> dict[str, JobStatus]:
    """Return the states of the jobs of `records` that have a directory, by their keys. Takes a few commands in all.

    The scheduler may have forgotten a job that never ran, and its directory does not show this. Such a job counts as
    cancelled if a job that it waited for has failed. The reason of a job that did not run names the stage that failed.
    """
    upstreams = {key: record["upstreams"][stage] for record in records for stage, key in record["stages"].items()}
    parts = [Part(place, state, [0]) for state in place.registry.get_several([*upstreams])]
    found = {part.state.key: status for part, (status,) in zip(parts, statuses(parts), strict=True)}

    def told(key: str) -> JobStatus | None:
        own = found.get(key)
        if own is None or own.outcome or not (own.state in _FORGOTTEN or _was_not_run(own)):
            return own
        for stage, before in upstreams[key].items():
            state = told(before)
            if state and state.state.final and state.state is not JobState.COMPLETED:
                why = f"it was not run: stage {stage} has ended as {state.state}"
                return JobStatus(JobState.CANCELLED, why, None, None)
        return own

    return {key: status for key in found if (status := told(key))}


def _was_not_run(status: JobStatus) -> bool:
    """Whether the scheduler has cancelled a job because of a job that it waited for."""
    return status.state is JobState.CANCELLED and (status.reason or "").startswith("Dependency")


def check_move(run_dir: Path, cluster: Cluster, records: Sequence[Mapping[str, Any]], stages: Sequence[str]) -> None:
    """Raise ToolError unless a run can leave `cluster`: all its stages must move, and none of its jobs may wait or run.

    Jobs cannot wait for jobs at another place, and cannot read their files.
    """
    keys, states = submissions.keys(records), states_of(cluster.place, records)
    if others := [stage for stage in keys if stage not in stages]:
        raise ToolError(
            f"{', '.join(others)} of {run_dir} was submitted to {place_url(cluster)}, and all stages of a run are at "
            "one place: submit all of them there"
        )
    for stage, key in keys.items():
        if (state := states.get(key)) and not state.state.final:
            raise ToolError(
                f"stage {stage} of {run_dir} is {state.state} at {place_url(cluster)}: cancel its job {key}, or wait "
                "for its end, before it is submitted elsewhere"
            )


def refuse_submitted(
    run_dir: Path, stages: Sequence[str], cluster: Cluster, records: Sequence[Mapping[str, Any]], *, dry: bool = False
) -> None:
    """Raise AlreadySubmitted if one of the stages was submitted.

    A stage whose client died before the stage was queued counts as not submitted. Its key is fenced, so that no job can
    start under this key; not with `dry`.
    """
    found = {}
    for stage in stages:
        number = submissions.last(records, stage)
        if number and not _was_given_up(run_dir, stage, number, records[number - 1], cluster, dry=dry):
            found[stage] = records[number - 1]["stages"][stage]
    if not found:
        return
    left = [stage for stage in stages if stage not in found]
    more = f". Not submitted yet: {', '.join(left)}" if left else ""
    raise AlreadySubmitted(
        f"{', '.join(found)} of {run_dir} was submitted already, as {next(iter(found.values()))}: write again=True to "
        f"submit it once more{more}"
    )


def _was_given_up(
    run_dir: Path, stage: str, number: int, record: Mapping[str, Any], cluster: Cluster, *, dry: bool
) -> bool:
    """Whether a recorded stage was never queued, and never will be. Raises AlreadySubmitted while this is unknown."""
    if submissions.queued(run_dir, number, stage):
        return False
    key = record["stages"][stage]
    with contextlib.suppress(NoSuchJob):
        job = job_of(cluster, key)
        if (state := job.status().state) in _NEVER_QUEUED or job.part.state.submitted:
            return state in _NEVER_QUEUED
    if client := submissions.may_be_submitting(record):
        raise AlreadySubmitted(
            f"{stage} of {run_dir} is being submitted by {client} since {record['submitted_utc']}: if that process "
            "has died, write again=True"
        )
    if dry:
        return True
    outcome = cancelled_outcome("its client died before it was queued, and it was submitted once more")
    fence_elements(cluster.place.store, {key: {0}}, outcome)
    return True


def record_queued(run_dir: Path, records: Sequence[Mapping[str, Any]], jobs: Mapping[str, Job[Finished]]) -> None:
    """Record which jobs of the last record's stages were queued, and link their directories."""
    for stage, job in jobs.items():
        state = job.part.state
        if state.submitted is None:
            continue
        commands = [text for text in state.queued_here if text]
        facts = {"key": job.key, "job_id": job.job_id, "directory": job.directory, submissions.COMMANDS: commands}
        submissions.add_queued(run_dir, len(records), stage, facts)
        try:
            link(run_dir, stage, submissions.count(records, stage), job)
        except OSError as error:
            _log.warning("%s has no link to its job's directory: %s", run_dir, error)


def tell_differences(
    cluster: Cluster, stages: Iterable[str], before: Mapping[str, str], now: Mapping[str, str]
) -> None:
    """Warn if a resumed stage has another environment, such as an image, or other files than before."""
    for stage in stages:
        old, new = (cluster.place.store.records(keys[stage]).submission for keys in (before, now))
        one, other = old.environment.key, new.environment.key
        if one != other:
            _log.warning("stage %s is resumed in another environment: %s, before %s", stage, other, one)
        if set(old.blobs or ()) != set(new.blobs or ()):
            _log.warning("stage %s is resumed with other files, such as an edited configuration or script", stage)
