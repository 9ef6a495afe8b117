"""WorkflowCluster: the cluster of a running workflow, used from its node."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from slurm.clusters.cluster import Cluster
from slurm.environments.base import Environment, planned_by_prepare
from slurm.errors import NotPicklable, PoolError, SchedulerNotFound
from slurm.jobs.job import Job, JobArray
from slurm.options import Options
from slurm.places.place import OnNode, place_for
from slurm.protocol import call_name
from slurm.runner.argument_loader import unpickled
from slurm.serialization.calls import unpacked
from slurm.serialization.pickling import Function, pickle_calls
from slurm.tasks.task import REDUCERS
from slurm.tracking.workflow_journal import WorkflowJournal

if TYPE_CHECKING:
    from typing_extensions import Self

    from slurm.environments.base import BuildTarget
    from slurm.protocol import ResolvedEnvironment, Submission
    from slurm.runner.job_context import JobContext


class Inherited(Environment):
    """The environment of the running workflow, for its tasks. Nothing is built."""

    def __init__(self, prepared: ResolvedEnvironment) -> None:
        self.prepared = prepared

    def prepare(self, target: BuildTarget) -> ResolvedEnvironment:
        """Return the workflow's environment."""
        del target
        return self.prepared

    planned = planned_by_prepare


class WorkflowCluster(Cluster):
    """The cluster of a workflow on a node. Jobs that are submitted to it are children of the workflow."""

    workflow: Job[Any]
    """The workflow's own job."""
    _journal: WorkflowJournal

    @classmethod
    def on_node(cls, job: JobContext, submission: Submission) -> Self:
        """The cluster for a workflow's job, with the scheduler, defaults and environment of the workflow's record.

        Raises SchedulerNotFound in a container without the scheduler's commands.
        """
        how = submission.workflow or {}
        setup = tuple(how.get("setup", ()))
        environment = submission.environment
        journal = WorkflowJournal(job, call_name(submission.key, job.index, mapped=submission.mapped))
        place = place_for(
            how["scheduler"],
            root=job.root,
            python=sys.executable,
            setup=setup,
            on_node=OnNode(environment=environment, journal=journal),
        )
        if environment.image and (missing := place.lacking()):
            raise SchedulerNotFound(
                f"a workflow submits from where it runs, and in its container there is no {', '.join(missing)}. Have "
                "the tasks in the container and not the workflow: @task(environment=Container(…)); or put the "
                "scheduler's client into the image, or mount it: see 'In a container' in docs/how-to/workflows.md"
            )
        cluster = cls(
            how["scheduler"], root=job.root, python=sys.executable, environment=Inherited(environment), setup=setup
        )
        labels = submission.labels or {}
        cluster.settings = cluster.settings.replace(options=Options.parse({**how["options"], "labels": labels}))
        cluster.workflow = Job(place, place.registry.add(submission, None), job.index)
        cluster._journal = journal
        return cluster

    def pool(self, key: str | None = None, **options: Any) -> NoReturn:
        """Raise PoolError: the node has no code for the client of a pool."""
        del key, options
        raise PoolError(
            "a workflow cannot make a pool yet: make the pool where the workflow is called from, or call its tasks as "
            "jobs, with chunk_size= if they are short"
        )

    def resolved(self, value: Any) -> Any:
        """Replace jobs in a value, at any depth, with their results. Waits for the jobs; raises their exceptions."""
        head = Function(function=repr, name=self.workflow.key, parameters=("value",), context=None, edges=())
        try:
            pickled = pickle_calls(head, [((value,), {})], reducers=REDUCERS)
        except NotPicklable:
            return value  # saving it will raise the same error
        if not pickled.references[0]:
            return value
        begin = unpacked(pickled.calls.offsets)[1]
        (found,), _ = unpickled(io.BytesIO(pickled.calls.data[begin:]), self._result)
        return found

    def orphans(self) -> list[str]:
        """The keys of jobs that only earlier attempts have submitted, and not this one. They continue to run."""
        return self._journal.orphans()

    def _result(self, reference: tuple[Any, ...]) -> Any:
        kind, key, which, _ = reference
        watched = self.place.registry.get(key)
        if kind == "job":
            return Job(self.place, watched, which).result()
        return JobArray(self.place, watched, range(*which)).results()
