"""Active: the cluster that calls of tasks go to."""

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
        """What a task needs of a cluster."""

        def submit(self, of: Task[P, R, Any], calls: Iterable[Arguments], *, mapped: bool) -> JobArray[R]:
            """Submit calls of a task as one submission: the calls of a map, or one call that is none."""

        def plan_calls(self, of: Task[P, R, Any], calls: Iterable[Arguments], *, mapped: bool) -> Plan[Any]:
            """Plan such a submission. Submits nothing."""


active: ContextVar[tuple[Submitter, ...]] = ContextVar("slurm-active", default=())
"""The clusters of the `with`s around this code, the innermost last."""

batches: ContextVar[tuple[Batch, ...]] = ContextVar("slurm-batches", default=())
"""The blocks of `cluster.batch()` around this code, the innermost last."""

_default: list[Submitter] = []


def activate(submitter: Submitter) -> None:
    """Make a cluster the one that tasks go to wherever no `with` says otherwise, in all threads of the process."""
    _default[:] = [submitter]


def current() -> Submitter | None:
    """The cluster that a call here goes to: that of the innermost `with`, else the activated one; None without both."""
    return next(reversed((*_default, *active.get())), None)


def no_active_cluster(what: str) -> NoActiveCluster:
    """The error for a call, or a question, that finds no cluster."""
    from slurm.errors import NoActiveCluster  # noqa: PLC0415 - carries concurrent.futures

    return NoActiveCluster(f"no cluster is active, so {what}")


def deactivate(submitter: Submitter) -> None:
    """Undo `activate`, if it was the last to be activated."""
    if _default == [submitter]:
        _default.clear()
