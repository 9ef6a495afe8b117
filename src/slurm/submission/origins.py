"""Origins: whether an id was given by the scheduler that can be asked here, for to another it means another job."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slurm.protocol.states import JobState
from slurm.schedulers import ids
from slurm.schedulers.base import Report

if TYPE_CHECKING:
    from slurm.protocol import Block, Origin


class Here(NamedTuple):
    """The scheduler that commands of this process reach: its kind, and which one it is, if that is known."""

    scheduler: str
    origin: Origin | None

    def __str__(self) -> str:
        return str(self.origin or self.scheduler)


def elsewhere(scheduler: str, block: Block, here: Here) -> Report | None:
    """What to report of a block that `scheduler` took, where nobody here can be asked; None if the scheduler can.

    The state is unknown if another scheduler took it, and lost if the machine was restarted since. A record that
    doesn't tell its origin is believed.
    """
    origin = block.origin
    if scheduler == here.scheduler:
        if origin is None or here.origin is None or ids.split_id(scheduler, block.id)[1] == here.origin.cluster:
            return None
        # A directory in /tmp may be emptied by a restart, and gets another name; the machine keeps its own.
        same = origin.cluster == here.origin.cluster or (origin.host and origin.host == here.origin.host)
        if same and origin.boot and here.origin.boot and origin.boot != here.origin.boot:
            return Report("", None, JobState.LOST, "LOST", "", "the machine was restarted")
        if origin.cluster == here.origin.cluster:
            return None
    reason = f"it was submitted to {origin or scheduler}; here is {here}"
    return Report("", None, JobState.UNKNOWN, "UNKNOWN", "", reason)
