"""WorkflowContextBuilder: from a workflow's own record to a live cluster, on the node that the workflow runs on.

Loaded for workflows only. What makes the cluster stands above this layer, so the record names it.
"""

from __future__ import annotations

from importlib import import_module

from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.job_context import JobContext, current_job, enter, say, stop_at_leisure, stop_at_once

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from slurm.callbacks.base import Callback
    from slurm.clusters.workflow_cluster import WorkflowCluster
    from slurm.jobs.job import Job, JobArray
    from slurm.runner.argument_loader import Call
    from slurm.views.graph import Graph


class WorkflowContext(JobContext):
    """The job that a workflow runs in: give a parameter this annotation, or call `slurm.current_workflow()`."""

    cluster: WorkflowCluster
    """Where this workflow's tasks go: the cluster that it runs on itself."""

    def children(self) -> list[Job[Any] | JobArray[Any]]:
        """What this workflow has submitted so far, in this attempt or an earlier one, in order. Reads records."""
        return self.cluster.workflow.children()

    def graph(self) -> Graph:
        """The workflow, what it has submitted, and how far each is. Asks the scheduler."""
        return self.cluster.graph(self.cluster.workflow)


class WorkflowContextBuilder:
    """Makes the context of a workflow from its job's."""

    def __init__(self, job: JobContext) -> None:
        self._job = job

    def build(self) -> WorkflowContext:
        """A context whose cluster is the active one, in all threads. Reads the submission's record."""
        submission = self._job.submission()
        made_by = dict(submission.workflow or {}).pop("cluster")
        module, _, name = made_by.partition(":")
        cluster = getattr(import_module(module), name).on_node(self._job, submission)
        cluster.activate()
        cluster.__enter__()  # in this thread, also if another workflow of this process is activated later
        return WorkflowContext(**{name: getattr(self._job, name) for name in JobContext._fields}, cluster=cluster)


def run(call: Call, job: JobContext, callbacks: Iterable[Callback]) -> Any:
    """Run a workflow; jobs in what it returns stand for their results, which are waited for.

    `callbacks` are told of its tasks, too.

    It needs no checkpoints: what it has submitted is what the next attempt goes on from.
    """
    context = WorkflowContextBuilder(job).build()
    context.cluster.terms = context.cluster.terms.replace(callbacks=tuple(callbacks))
    enter(context)
    try:
        stop_at_once()
        value = context.cluster.resolved(call.make(context))
    finally:
        stop_at_leisure()
    if strays := context.cluster.passed_over():
        say(
            f"earlier attempts have submitted what this one did not ask for: {', '.join(strays)}. The arguments of "
            "these calls, or what they pickle to, were not the same again\n"
        )
    return value


def current_workflow() -> WorkflowContext:
    """The context of the workflow that this code runs in. Raises RuntimeError outside of one."""
    try:
        context = current_job()
    except RuntimeError:
        context = None
    if not isinstance(context, WorkflowContext):
        raise RuntimeError("current_workflow() is for code that runs in a workflow: call it from one, on the node")
    return context
