"""Survey: a scheduler's version, limits and partitions at one site, for the doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Partition(NamedTuple):
    """A partition or queue of a cluster."""

    name: str
    default: bool
    up: bool
    """Whether it accepts and starts jobs."""
    time_limit: str
    """In the scheduler's format."""
    nodes: int
    usable: int
    """The number of its nodes that are neither down nor drained."""
    cpus: str
    memory: str
    """The memory of a node in megabytes. `cpus` is the number of its processors."""
    gres: str
    access: str = ""
    """Who may use it, in the scheduler's words; empty if everybody may use it, or if this is unknown."""


class Survey(NamedTuple):
    """A scheduler's version, limits and partitions at one site, for the doctor."""

    version: str
    """Empty if the scheduler does not answer; `trouble` then says why."""
    trouble: str = ""
    old: bool = False
    """Whether it is older than any version that its class supports."""
    shared: bool = True
    """Whether jobs run on other machines than the commands, so that both need a shared file system."""
    accounting: bool | None = None
    """Whether finished jobs are remembered; None if the scheduler has no accounting at all."""
    memory: bool | None = None
    """Whether a job that uses more memory than it asked for is ended; None if unknown."""
    arrays: bool = True
    """Whether it accepts job arrays."""
    limits: Mapping[str, str] = {}
    """The limits, by the names that the scheduler uses."""
    partitions: Sequence[Partition] = ()
    federation: Sequence[str] = ()
    """The clusters of its federation, and itself, if it is in one."""
