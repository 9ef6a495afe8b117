"""Origins: check whether an id belongs to the scheduler of this process. At another scheduler, it is another job."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slurm.protocol.states import JobState
from slurm.schedulers import ids
from slurm.schedulers.base import Report

if TYPE_CHECKING:
    from slurm.protocol import Block, Origin


class Here(NamedTuple):
    """The scheduler that this process's commands reach: its kind, and its identity if known."""

    scheduler: str
    origin: Origin | None

    def __str__(self) -> str:
        return str(self.origin or self.scheduler)


def elsewhere(scheduler: str, block: Block, here: Here) -> Report | None:
    """The report of a block that the scheduler `here` does not have; None if it has the block.

    The state is unknown if another scheduler queued it, and lost if the machine was restarted since. A record without
    an origin counts as queued here.
    """
    origin = block.origin
    if scheduler == here.scheduler:
        if origin is None or here.origin is None or ids.split_id(scheduler, block.id)[1] == here.origin.cluster:
            return None
        if ids.is_federated(scheduler, block.id) and ids.cluster(scheduler, block) in (here.origin.federation or ()):
            return None
        # A restart may empty /tmp, so that the local scheduler gets another name; the host name stays.
        same = origin.cluster == here.origin.cluster or (origin.host and origin.host == here.origin.host)
        if same and origin.boot and here.origin.boot and origin.boot != here.origin.boot:
            return Report("", None, JobState.LOST, "LOST", "", "the machine was restarted")
        if origin.cluster == here.origin.cluster:
            return None
    reason = f"it was submitted to {origin or scheduler}; here is {here}"
    return Report("", None, JobState.UNKNOWN, "UNKNOWN", "", reason)
