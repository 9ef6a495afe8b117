"""The growth rule: how many elements to add to an elastic pool, as a function of its elements and its waiting calls."""

from __future__ import annotations

from typing import NamedTuple


class Demand(NamedTuple):
    """The elements of an elastic pool, and the calls that wait for them."""

    least: int
    most: int
    """`least` and `most`: the smallest and the largest number of elements at a time; fewer if no calls wait."""
    workers: int
    """The number of workers of each element."""
    begun: int
    """The number of elements that have begun and not ended."""
    queued: int
    """The number of elements that were queued and have not begun."""
    waiting: int
    """The number of blocks of calls that no element has claimed. A worker makes the calls of one block at a time."""
    longest: float
    """The seconds that the oldest of these blocks has waited."""
    start: float
    """The seconds that an element takes to start."""
    since: float
    """The seconds since elements were last added."""


def elements_to_add(demand: Demand) -> int:
    """Return how many elements to queue now.

    If there are no elements, this is the number `least`. Otherwise elements are added only if a call has waited longer
    than an element takes to start, and at most as many as there are. So calls of milliseconds do not fill the cluster.
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
