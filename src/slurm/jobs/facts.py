"""Facts: what is known about jobs and maps, as plain data for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurm.callbacks.progress_model import progress_text
from slurm.protocol import task_of
from slurm.storage.keys import submitted_at
from slurm.views.overview import overviews
from slurm.views.status import error_of, progress

if TYPE_CHECKING:
    from slurm.jobs.job import Job, JobArray
    from slurm.views.overview import Overview


def facts_of(job: Job[Any] | JobArray[Any], found: Overview) -> dict[str, Any]:
    """The facts about a submission, as plain data."""
    _, state, indices = found.part
    id_of = state.job_id if job.key.endswith("]") else state.array_id
    return {
        "key": job.key,
        "task": task_of(job.key, indices[0] if len(indices) == 1 else None, state.functions),
        "cluster": found.part.url,
        "job_id": id_of(indices[0]) if indices else None,
        "count": len(indices),
        "elements": found.part.elements,
        "states": dict(found.summary.states),
        "submitted": submitted_at(job.key),
        "labels": job.labels,
    }


def all_facts_of(job: Job[Any] | JobArray[Any]) -> dict[str, Any]:
    """All facts about a job, with its progress and failures, as plain data."""
    (found,) = overviews([job.part])
    summary, failures = found.summary, found.failures()
    running = progress(job.part, found.calls) if found.calls else {}
    reported = {f"{index}": progress_text(event) for index, event in running.items()}
    facts = facts_of(job, found) | {"progress": reported, "seconds": summary.seconds, "memory": summary.peak_memory}
    if job.is_array:
        facts["failures"] = {f"{i}": error_of(status) or status.state.value for i, status in failures.items()}
        of = job.part.state.functions
        facts["functions"] = [of.of(index) for index in job.part.indices] if of else None
    else:
        (status,) = found.calls
        facts |= {
            "node": status.node,
            "reason": status.reason,
            "explanation": status.explanation,
            "error": error_of(status) or None,
            "log": job.log_path,
        }
        facts["metrics"] = dict((status.outcome and status.outcome.metrics) or {})
    facts["directory"] = job.directory
    return facts
