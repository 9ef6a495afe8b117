"""Facts: what is known about jobs and maps, as plain data for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurm.callbacks.progress_model import progress_text
from slurm.errors import TransportError
from slurm.protocol import task_of
from slurm.protocol.pools import is_pool
from slurm.storage.keys import submitted_at
from slurm.views.overview import overviews
from slurm.views.status import error_of, progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.callbacks.events import ProgressEvent
    from slurm.jobs.job import Job, JobArray
    from slurm.submission.status import JobStatus
    from slurm.views.overview import Overview
    from slurm.views.status import Part

_OF_A_POOL = {"workers", "busy", "written", "rate"}
"""What elements of pools report."""


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
    facts |= {"pool": pool} if (pool := _pool_of(job.part, found.calls, running)) else {}
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


def _pool_of(part: Part, found: Sequence[JobStatus], running: Mapping[int, ProgressEvent]) -> dict[str, float]:
    """What the running elements of a pool do, from their progress; empty for other jobs.

    For an open pool without elements, contains only that the pool has no workers.
    """
    each = [event.metrics for event in running.values()]
    if part.state.may_grow and not part.state.unfinished and len(part.indices) == part.state.count:
        return {"workers": 0, "busy": 0}
    if not each or not all(metrics.keys() >= _OF_A_POOL for metrics in each):
        return {}
    workers, busy, rate = (sum(metrics[name] for metrics in each) for name in ("workers", "busy", "rate"))
    before = progress(part, found, ended=True) if is_pool(part.state.key) else {}
    made = sum(event.done for event in (*running.values(), *before.values()))
    waiting = max(0, max(metrics["written"] for metrics in each) - made - busy)
    return {"workers": workers, "busy": busy, "made": made, "waiting": waiting, "rate": round(rate, 1)}


def pool_now(part: Part, found: Sequence[JobStatus]) -> dict[str, float]:
    """What a pool does, by one command; empty for other jobs, and if its files cannot be read now."""
    try:
        return _pool_of(part, found, progress(part, found)) if is_pool(part.state.key) else {}
    except TransportError:
        return {}


def pool_text(pool: Mapping[str, float]) -> str:
    """What a pool does, as text."""
    if not pool:
        return ""
    if not pool["workers"]:
        waits = f"; {pool['waiting']:,} calls wait" if pool.get("waiting") else ""
        return f"no workers{waits} until a program that has joined the pool adds some"
    calls = f"{pool['made']:,} calls made, {pool['waiting']:,} wait, {pool['rate']:,} a second"
    return f"{pool['busy']} of {pool['workers']} workers busy; {calls}"
