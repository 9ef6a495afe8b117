"""Active: the cluster to which calls of tasks go."""

from __future__ import annotations

from contextvars import ContextVar

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, ParamSpec, Protocol, TypeVar

    from slurm.clusters.batch import Batch
    from slurm.errors import NoActiveCluster
    from slurm.jobs.job import JobArray
    from slurm.jobs.plan import Plan
    from slurm.serialization.pickling import Arguments
    from slurm.tasks.task import Task

    P = ParamSpec("P")
    R = TypeVar("R")

    class Submitter(Protocol):
        """The methods of a cluster that a task needs."""

        def submit(self, of: Task[P, R, Any], calls: Iterable[Arguments], *, mapped: bool) -> JobArray[R]:
            """Submit calls of a task as one submission: the calls of a map, or one single call if not `mapped`."""

        def plan_calls(self, of: Task[P, R, Any], calls: Iterable[Arguments], *, mapped: bool) -> Plan[Any]:
            """Plan a submission as `submit` would make it. Submits nothing."""


active: ContextVar[tuple[Submitter, ...]] = ContextVar("slurm-active", default=())
"""The clusters of the `with` statements around this code, the innermost last."""

batches: ContextVar[tuple[Batch, ...]] = ContextVar("slurm-batches", default=())
"""The blocks of `cluster.batch()` around this code, the innermost last."""

_default: list[Submitter] = []


def activate(submitter: Submitter) -> None:
    """Make a cluster the default for calls outside of a `with`, in all threads of the process."""
    _default[:] = [submitter]


def current() -> Submitter | None:
    """The cluster to which a call goes here: that of the innermost `with`, else the activated one, else None."""
    return next(reversed((*_default, *active.get())), None)


def no_active_cluster(what: str) -> NoActiveCluster:
    """Return the error for a call, or a question, if no cluster is active."""
    from slurm.errors import NoActiveCluster  # noqa: PLC0415 - carries concurrent.futures

    return NoActiveCluster(f"no cluster is active, so {what}")


def deactivate(submitter: Submitter) -> None:
    """Undo `activate`, if this cluster is the activated one."""
    if _default == [submitter]:
        _default.clear()
