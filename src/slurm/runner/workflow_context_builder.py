"""WorkflowContextBuilder: make a workflow's cluster from its record, on the node that the workflow runs on.

Loaded for workflows only. The class of the cluster is in a higher layer, so the record names it.
"""

from __future__ import annotations

from importlib import import_module

from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.job_context import (
    JobContext,
    current_job,
    defer_stop,
    interrupt_on_stop,
    print_to_log,
    set_current,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from slurm.callbacks.base import Callback
    from slurm.clusters.workflow_cluster import WorkflowCluster
    from slurm.jobs.job import Job, JobArray
    from slurm.runner.argument_loader import Call
    from slurm.views.graph import Graph


class WorkflowContext(JobContext):
    """The job that a workflow runs in. Annotate a parameter with this class, or call `slurm.current_workflow()`."""

    cluster: WorkflowCluster
    """The cluster of this workflow's tasks. The workflow itself runs on this cluster, too."""

    def children(self) -> list[Job[Any] | JobArray[Any]]:
        """Return the jobs that this workflow has submitted, in this or an earlier attempt, in order. Reads records."""
        return self.cluster.workflow.children()

    def graph(self) -> Graph:
        """Return the graph of the workflow and its jobs, with their states. Queries the scheduler."""
        return self.cluster.graph(self.cluster.workflow)


class WorkflowContextBuilder:
    """Makes the context of a workflow from the context of its job."""

    def __init__(self, job: JobContext) -> None:
        self._job = job

    def build(self) -> WorkflowContext:
        """Return a context, with its cluster activated in all threads. Reads the submission's record."""
        submission = self._job.submission()
        class_path = dict(submission.workflow or {}).pop("cluster")
        module, _, name = class_path.partition(":")
        cluster = getattr(import_module(module), name).on_node(self._job, submission)
        cluster.activate()
        cluster.__enter__()  # keeps it for this thread if another workflow in this process is activated later
        return WorkflowContext(**{name: getattr(self._job, name) for name in JobContext._fields}, cluster=cluster)


def run(call: Call, job: JobContext, callbacks: Iterable[Callback]) -> Any:
    """Run a workflow. Waits for the jobs in its return value and replaces them by their results.

    `callbacks` are also called for the workflow's tasks. A workflow needs no checkpoints: the next attempt continues
    with the jobs that this attempt has submitted.
    """
    context = WorkflowContextBuilder(job).build()
    context.cluster.settings = context.cluster.settings.replace(callbacks=tuple(callbacks))
    set_current(context)
    try:
        interrupt_on_stop()
        value = context.cluster.resolved(call.make(context))
    finally:
        defer_stop()
    if orphans := context.cluster.orphans():
        print_to_log(
            f"earlier attempts submitted jobs that this attempt does not use: {', '.join(orphans)}. The arguments of "
            "these calls, or their pickles, have changed\n"
        )
    return value


def current_workflow() -> WorkflowContext:
    """Return the context of the workflow that this code runs in. Raises RuntimeError outside of a workflow."""
    try:
        context = current_job()
    except RuntimeError:
        context = None
    if not isinstance(context, WorkflowContext):
        raise RuntimeError("current_workflow() works only in a workflow: call it from a workflow, on the node")
    return context
