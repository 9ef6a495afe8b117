"""Call a Python function on a Slurm cluster as if it were local.

    from slurm import Cluster, task

    @task(time="00:10:00", mem="4G")
    def square(x: int) -> int:
        return x * x

    with Cluster("slurm"):
        print(square(3).result(), sum(square.map(range(1000)).results()))

Start with help(slurm.Cluster) and help(slurm.task). A call returns a slurm.Job, and a map a slurm.JobArray. Programs
also import from slurm.callbacks, slurm.compat, slurm.doctor, slurm.errors, slurm.procedures, slurm.sweeps,
slurm.testing and slurm.tools. Most other modules are internal.

Names are imported at first use, so that `import slurm` is fast.
"""

from __future__ import annotations

import importlib
import sys

__path__ = [*__path__, f"{__path__[0]}/former"]

TYPE_CHECKING = False  # as `typing` has it, without importing typing; type checkers know the name

if TYPE_CHECKING:
    from slurm.callbacks.base import Callback
    from slurm.clusters.cluster import Cluster
    from slurm.environments.container import Container
    from slurm.environments.current import Current, Python
    from slurm.environments.modules import Conda, Modules
    from slurm.environments.wheel import Wheel
    from slurm.errors import (
        CommandFailed,
        DependencyFailed,
        JobCancelled,
        JobError,
        JobLost,
        JobOutOfMemory,
        JobPreempted,
        JobTimedOut,
        NodeFailed,
        SlurmError,
        TaskExited,
        TaskFailed,
    )
    from slurm.jobs.fence import fence
    from slurm.jobs.job import Job, JobArray, open_job
    from slurm.jobs.plan import Plan
    from slurm.jobs.waiting import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, as_completed, cancel, gather, wait
    from slurm.options.retry import Retry
    from slurm.protocol.states import JobState
    from slurm.runner.finished import Finished
    from slurm.runner.job_context import JobContext, current_job
    from slurm.runner.pools.current_worker import current_worker
    from slurm.runner.workflow_context_builder import WorkflowContext, current_workflow
    from slurm.spaces.space import grid, paired
    from slurm.submission.status import JobStatus
    from slurm.tasks.command import command
    from slurm.tasks.decorators import task, workflow
    from slurm.tasks.task import Task
    from slurm.version import __version__ as __version__
    from slurm.views.graph import Graph

_HOMES = {
    "slurm.callbacks.base": ("Callback",),
    "slurm.clusters.cluster": ("Cluster",),
    "slurm.environments.current": ("Current", "Python"),
    "slurm.environments.container": ("Container",),
    "slurm.environments.modules": ("Conda", "Modules"),
    "slurm.environments.wheel": ("Wheel",),
    "slurm.errors": (
        "CommandFailed",
        "DependencyFailed",
        "JobCancelled",
        "JobError",
        "JobLost",
        "JobOutOfMemory",
        "JobPreempted",
        "JobTimedOut",
        "NodeFailed",
        "SlurmError",
        "TaskExited",
        "TaskFailed",
    ),
    "slurm.jobs.waiting": (
        "ALL_COMPLETED",
        "FIRST_COMPLETED",
        "FIRST_EXCEPTION",
        "as_completed",
        "cancel",
        "gather",
        "wait",
    ),
    "slurm.views.graph": ("Graph",),
    "slurm.jobs.fence": ("fence",),
    "slurm.jobs.job": ("Job", "JobArray", "open_job"),
    "slurm.jobs.plan": ("Plan",),
    "slurm.options.retry": ("Retry",),
    "slurm.runner.finished": ("Finished",),
    "slurm.runner.job_context": ("JobContext", "current_job"),
    "slurm.runner.pools.current_worker": ("current_worker",),
    "slurm.runner.workflow_context_builder": ("WorkflowContext", "current_workflow"),
    "slurm.protocol.states": ("JobState",),
    "slurm.tasks.command": ("command",),
    "slurm.tasks.decorators": ("task", "workflow"),
    "slurm.tasks.task": ("Task",),
    "slurm.version": ("__version__",),
    "slurm.spaces.space": ("grid", "paired"),
    "slurm.submission.status": ("JobStatus",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Callback",
    "Cluster",
    "CommandFailed",
    "Conda",
    "Container",
    "Current",
    "DependencyFailed",
    "Finished",
    "Graph",
    "Job",
    "JobArray",
    "JobCancelled",
    "JobContext",
    "JobError",
    "JobLost",
    "JobOutOfMemory",
    "JobPreempted",
    "JobState",
    "JobStatus",
    "JobTimedOut",
    "Modules",
    "NodeFailed",
    "Plan",
    "Python",
    "Retry",
    "SlurmError",
    "Task",
    "TaskExited",
    "TaskFailed",
    "Wheel",
    "WorkflowContext",
    "as_completed",
    "cancel",
    "command",
    "current_job",
    "current_worker",
    "current_workflow",
    "fence",
    "gather",
    "grid",
    "open_job",
    "paired",
    "task",
    "wait",
    "workflow",
]


class _Packed:
    """Finds the modules that are not separate members of the runner's zip."""

    @staticmethod
    def find_spec(name: str, path: list[str] | None, _: object = None) -> object:
        if not name.startswith("slurm."):
            return None
        from slurm.protocol.packed import find_spec  # noqa: PLC0415 - most tasks do not need it

        return find_spec(name, path or ())


if hasattr(globals()["__loader__"], "archive"):
    sys.meta_path.append(_Packed)  # type: ignore[arg-type]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'slurm' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*{*globals(), *__all__}]
