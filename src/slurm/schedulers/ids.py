"""Job ids in records: compose and split them as the scheduler that assigned them does."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from slurm.errors import PluginNotFound
from slurm.plugins import plugin
from slurm.schedulers.base import Scheduler

if TYPE_CHECKING:
    from slurm.protocol import Block


def element_id(scheduler: str, block: Block, element: int) -> str:
    """Return the id of one element of a block that the scheduler of this name has queued."""
    return block.id if block.array is False else _class(scheduler).element_id(block.id, element - block.first)


def split_id(scheduler: str, id_: str) -> tuple[str, str]:
    """Split an id into the id on its cluster and the name of that cluster; "" if it names none."""
    return _class(scheduler).split_id(id_)


def is_federated(scheduler: str, id_: str) -> bool:
    """Whether all clusters of the federation that assigned an id can report and change its job."""
    return _class(scheduler).is_federated(id_)


def cluster(scheduler: str, block: Block) -> str:
    """Return the cluster that the id of a block names, or else the cluster of its origin; "" if neither is known."""
    return _class(scheduler).split_id(block.id)[1] or (block.origin.cluster if block.origin else "")


@cache
def _class(name: str) -> type[Scheduler]:
    """Return the class of a scheduler; the base class if its plugin is not installed: its ids are only displayed."""
    try:
        found: type[Scheduler] = plugin("schedulers", name)
    except PluginNotFound:
        return Scheduler
    return found
