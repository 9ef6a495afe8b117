"""Spreading: decide which source computes which points, and how many elements of a shard may run at once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import ConfigurationError
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slurm.sweeps.records import Shard

    Numbers = Sequence[int]


class Share(NamedTuple):
    """The capacity and the load of a source."""

    slots: int | None
    load: int = 0
    """The number of elements of the sweep that wait or run at the source."""


def spread(numbers: Numbers, shares: Sequence[Share], *, strategy: str = "slots", chunk: int = 1) -> list[list[int]]:
    """Spread the numbers of points over sources; returns the numbers for each source, in order. Chunks stay together.

    Raises ConfigurationError for an unknown strategy.
    """
    if strategy not in STRATEGIES:
        raise ConfigurationError(f"strategy={strategy!r}{near(strategy, STRATEGIES)}")
    groups = [list(numbers[at : at + chunk]) for at in range(0, len(numbers), chunk)]
    found: list[list[int]] = [[] for _ in shares]
    for group, source in zip(groups, STRATEGIES[strategy](len(groups), shares), strict=True):
        found[source] += group
    return found


def _weights(shares: Sequence[Share]) -> list[int]:
    """Return the slots of each source; a source without a number of slots counts like the largest of the others."""
    most = max((share.slots for share in shares if share.slots), default=1)
    return [share.slots or most for share in shares]


def _by_slots(count: int, shares: Sequence[Share]) -> list[int]:
    """Give each source a run of consecutive points, in proportion to its slots."""
    weights = _weights(shares)
    total, found, done = sum(weights), list[int](), 0
    for source, weight in enumerate(weights):
        done += weight
        found += [source] * (round(count * done / total) - len(found))
    return found


def _round_robin(count: int, shares: Sequence[Share]) -> list[int]:
    return [at % len(shares) for at in range(count)]


def _least_loaded(count: int, shares: Sequence[Share]) -> list[int]:
    """Give each chunk to the source that has the fewest waiting and running elements per slot."""
    weights, loads, found = _weights(shares), [share.load for share in shares], list[int]()
    for _ in range(count):
        best = min(range(len(shares)), key=lambda source: (loads[source] + 1) / weights[source])
        loads[best] += 1
        found.append(best)
    return found


def _random(count: int, shares: Sequence[Share]) -> list[int]:
    """Choose a source at random, in proportion to the slots; the choice is the same for the same number of points."""
    return random.Random(count).choices(range(len(shares)), _weights(shares), k=count)  # noqa: S311 - no secret


def _priority(count: int, shares: Sequence[Share]) -> list[int]:
    """Fill the free slots of the first source, then of the next; spread the rest in proportion to the slots."""
    found: list[int] = []
    for source, (share, slots) in enumerate(zip(shares, _weights(shares), strict=True)):
        free = count if share.slots is None else max(0, slots - share.load)
        found += [source] * min(free, count - len(found))
    return found + _by_slots(count - len(found), shares)


STRATEGIES: Mapping[str, Callable[[int, Sequence[Share]], list[int]]] = {
    "slots": _by_slots,
    "round_robin": _round_robin,
    "least_loaded": _least_loaded,
    "random": _random,
    "priority": _priority,
}


def room(slots: int | None, alive: Mapping[int, tuple[Shard, int]]) -> tuple[int | None, int | None]:
    """Return how many elements of a new shard may run at once, and the shard that it must wait for if there is no room.

    Both are None for a source without a number of slots. `alive` holds the shards of the source that have not ended,
    by number, each with the number of its elements that have not ended.
    """
    if slots is None:
        return None, None
    taken = sum(min(shard.slots or left, left) for shard, left in alive.values())
    if taken < slots:
        return slots - taken, None
    oldest = min(alive)
    return min(alive[oldest][0].slots or slots, slots), oldest
