"""Planning: what a cluster would submit, without making, writing or queuing anything."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from slurm.clusters.environment_cache import planned_or_offline
from slurm.jobs.launching import is_command
from slurm.jobs.plan import Plan, preview
from slurm.jobs.submit import Wanted, describe, describe_without_calls, submit_draft
from slurm.storage.runner_zip import without_writing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurm.clusters.cluster import Cluster
    from slurm.jobs.plan import Draft
    from slurm.protocol import ResolvedEnvironment
    from slurm.serialization.pickling import Arguments
    from slurm.tasks.task import Task

_log = logging.getLogger(__name__)


def plan_calls(
    cluster: Cluster, of: Task[..., Any], calls: Iterable[Arguments], *, mapped: bool, offline: bool
) -> Plan[Any]:
    """Plan bound calls of a task on a cluster."""
    bound, place, settings = list(calls), cluster.place, cluster.settings.merged(of.terms)

    def submit_plan(draft: Draft) -> Any:
        if settings.options.get("reuse"):  # some calls may be known when the plan is submitted
            jobs = cluster._submit_now(of, bound, mapped=mapped)  # noqa: SLF001 - of this package
        else:
            wanted = Wanted(of, bound, mapped, *cluster._prepare(of), cluster.settings)  # noqa: SLF001 - of this package
            made = describe(place, wanted, earlier=draft)
            jobs = cluster._jobs_of(submit_draft(place, made, settings.callbacks))  # noqa: SLF001 - as above
        return jobs if mapped else jobs[0]

    with without_writing():
        environment, why = _planned(cluster, of, offline=offline)
        draft = describe(place, Wanted(of, bound, mapped, settings, environment, cluster.settings))
        return Plan(place, draft, offline=why, submit=submit_plan)


def script_of(cluster: Cluster, of: Task[..., Any], count: int) -> str:
    """Return the batch script of `count` calls of a task on a cluster."""
    options = cluster.settings.merged(of.terms).options
    with without_writing():
        environment, offline = _planned(cluster, of, offline=False)
        if offline is not None:
            _log.warning("the script has placeholders, because %s cannot be asked: %s", cluster.url, offline)
        submission = describe_without_calls(of, count, options=options, environment=environment)
        return preview(cluster.place, submission, options, offline=offline is not None)


def _planned(cluster: Cluster, of: Task[..., Any], *, offline: bool) -> tuple[ResolvedEnvironment, str | None]:
    """The environment of a task, without making it. Also why the cluster was not queried; None if it was."""
    environments = cluster.settings.merged(of.terms).environment or ()
    return planned_or_offline(cluster.place, environments, for_program=is_command(of), offline=offline)
