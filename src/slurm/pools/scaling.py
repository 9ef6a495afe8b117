"""Scaling: how many elements an elastic pool gets next, as a function of what it has and what waits."""

from __future__ import annotations

from typing import NamedTuple


class Demand(NamedTuple):
    """What an elastic pool has, and what waits for it."""

    least: int
    most: int
    """The smallest and the largest number of elements at a time. It may have none before a call waits."""
    workers: int
    """Of each element."""
    begun: int
    """The elements that live."""
    queued: int
    """Those that were queued and have not begun."""
    waiting: int
    """The blocks of calls that no element has claimed. A worker claims one at a time."""
    longest: float
    """Seconds that the oldest of them has waited."""
    start: float
    """Seconds that an element takes to start."""
    since: float
    """Seconds since elements were last added."""


def elements_to_add(demand: Demand) -> int:
    """Return how many elements to queue now.

    If there are none, the least number at once. Otherwise some are added when a call has waited longer than an element
    takes to start: at most as many as there are, so that calls of milliseconds do not fill the cluster.
    """
    there = demand.begun + demand.queued
    room = demand.most - there
    if demand.waiting <= 0 or room <= 0:
        return 0
    if there == 0:
        return min(room, max(1, demand.least))
    if min(demand.longest, demand.since) < demand.start:
        return 0
    needed = -(-demand.waiting // demand.workers) - demand.queued
    return max(0, min(room, needed, there))
