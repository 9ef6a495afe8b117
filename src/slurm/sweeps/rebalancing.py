"""Rebalancing: decide which waiting points move from one source to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slurm.sweeps import moving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.health import Health
    from slurm.sweeps.snapshot import Snapshot, SnapshotReader
    from slurm.sweeps.sources import Places, Source

    Waiting = Mapping[int, Sequence[int]]


PROBE = "probe"
"""The reason for sending one element to a source that is off."""


class Move(NamedTuple):
    """A decision to move at most `most` waiting elements from the source `of` to the source `to`."""

    of: str
    to: Source
    most: int
    why: str


def moves(snapshot: Snapshot, sources: Sequence[Source], waiting: Waiting, health: Health) -> Iterator[Move]:
    """Yield the moves that are due. `waiting` holds the waiting calls, by shard.

    All waiting elements at a source that is off go to the others. A source that is off gets one element as a probe. A
    source without points gets a share of the elements at the source where most elements wait, in proportion to the
    slots of the two.
    """
    counts: dict[str, int] = {}
    for number, calls in waiting.items():
        shard = snapshot.shards[number]
        counts[shard.source] = counts.get(shard.source, 0) + len({at // shard.chunk for at in calls})
    busy = {point.source for point in snapshot.points if point.ended is None and point.source is not None}
    good = [source for source in sources if not health.is_off(source.name)]
    for name, count in counts.items():
        others = [source for source in good if source.name != name]
        if health.is_off(name) and others:
            share = -(-count // len(others))
            yield from (Move(name, source, share, "moved: the source is off") for source in others)
    slow = max((name for name in counts if not health.is_off(name)), key=lambda name: counts[name], default=None)
    if slow is None:
        return
    slots = {source.name: source.slots or 1 for source in sources}
    for source in sources:
        if health.probe_is_due(source.name) and source.name != slow:
            yield Move(slow, source, 1, PROBE)
        elif source in good and source.name not in busy and source.name != slow:
            share = counts[slow] * slots[source.name] // (slots[source.name] + slots.get(slow, 1))
            if share:
                yield Move(slow, source, share, "moved: the source had nothing to do")


def take(
    move: Move,
    snapshot: Snapshot,
    reader: SnapshotReader,
    places: Places,
    waiting: Waiting,
    *,
    directory: SweepDirectory,
) -> list[int]:
    """Take back elements for a move, the last ones first; returns the numbers of their points."""
    several = list[moving.Waiting]()
    left = move.most
    for number in sorted(waiting, reverse=True):
        shard, state = snapshot.shards[number], reader.state(number)
        if shard.source != move.of or state is None or left <= 0:
            continue
        elements = sorted({at // shard.chunk for at in waiting[number] if not reader.has_ended(number, at)})[-left:]
        left -= len(elements)
        several.append(moving.Waiting(number, shard, state, [element * shard.chunk for element in elements]))
    if not several:
        return []
    place = places.of(several[0].shard.cluster)
    taken = places.act(place, "move points", lambda: moving.take_back(place, several, directory))
    return [point for number, ended in taken.elements.items() for point in reader.learn(number, ended, taken.outcome)]
