"""WorkflowCluster: the cluster that a workflow runs on, as its own process sees it from the node."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

from slurm.clusters.cluster import Cluster
from slurm.environments.base import Environment
from slurm.errors import NotPicklable, SchedulerNotFound
from slurm.jobs.array import JobArray
from slurm.jobs.job import Job
from slurm.options import Options
from slurm.runner.argument_loader import unpickled
from slurm.serialization import Function, pickle_calls, unpacked
from slurm.tasks.task import REDUCERS
from slurm.tracking.workflow_journal import WorkflowJournal

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from slurm.environments.base import BuildTarget
    from slurm.protocol import ResolvedEnvironment, Submission
    from slurm.runner.job_context import JobContext


class Inherited(Environment):
    """The environment that a workflow runs in, for what it submits: it is there, so nothing is made."""

    def __init__(self, prepared: ResolvedEnvironment) -> None:
        self.prepared = prepared

    def prepare(self, place: BuildTarget) -> ResolvedEnvironment:
        """The same, as it is."""
        del place
        return self.prepared


def _check_container(environment: ResolvedEnvironment, lacking: Callable[[], list[str]]) -> None:
    """Raises SchedulerNotFound in a container that no job can be submitted from."""
    if environment.image and (missing := lacking()):
        message = (
            f"a workflow submits from where it runs, and in its container there is no {', '.join(missing)}. Have the "
            "tasks in the container and not the workflow: @task(environment=Container(…)); or put the scheduler's "
            "client into the image, or mount it: see 'In a container' in docs/how-to/workflows.md"
        )
        raise SchedulerNotFound(message)


class WorkflowCluster(Cluster):
    """The cluster of a workflow: what is submitted to it belongs to the workflow."""

    _family: WorkflowJournal
    workflow: Job[Any]
    """The workflow's own job."""

    @classmethod
    def on_node(cls, job: JobContext, submission: Submission) -> Self:
        """The cluster of a workflow's job, by the scheduler, the defaults and the environment in its own record."""
        how = submission.workflow or {}
        environment = Inherited(submission.environment)
        setup = how.get("setup", ())
        cluster = cls(how["scheduler"], root=job.root, python=sys.executable, environment=environment, setup=setup)
        cluster.terms = cluster.terms.replace(options=Options.parse(how["options"]))
        backend = cluster._backend
        _check_container(submission.environment, backend.lacking)
        backend.refusals_are_final = False
        backend.inherited = submission.environment
        cluster.workflow = Job(backend, backend.tracker.watch(submission, None), job.index)
        backend.family = cluster._family = WorkflowJournal(job, cluster.workflow.key)
        return cluster

    def resolved(self, value: Any) -> Any:
        """A value with results in place of the jobs in it, at any depth; waits for them, and raises as they do."""
        head = Function(function=repr, name=self.workflow.key, parameters=("value",), context=None, edges=())
        try:
            pickled = pickle_calls(head, [((value,), {})], reducers=REDUCERS)
        except NotPicklable:
            return value  # whoever saves it will say so
        if not pickled.references[0]:
            return value
        begin = unpacked(pickled.calls.offsets)[1]
        (found,), _ = unpickled(io.BytesIO(pickled.calls.data[begin:]), self._result)
        return found

    def passed_over(self) -> list[str]:
        """The keys of what earlier attempts have submitted and this one has not asked for: it goes on, for nobody."""
        return self._family.passed_over()

    def _result(self, reference: tuple[Any, ...]) -> Any:
        kind, key, which, _ = reference
        watched = self._backend.watch(key)
        if kind == "job":
            return Job(self._backend, watched, which).result()
        return JobArray(self._backend, watched, range(*which)).results()
