"""Driver: follows a sweep until all submitted points have ended; collects ended points, and moves waiting ones.

Any number of processes may drive a sweep at the same time, because they write all files with link(2). Everything else
that a driver knows is only in its memory.
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from slurm.errors import SlurmError, SubmissionError, TransportError
from slurm.sweeps.collecting import collect, collect_left
from slurm.sweeps.health import Health, NoSourceLeft, SweepStopped
from slurm.sweeps.holds import Holds
from slurm.sweeps.looking import scheduler_answers
from slurm.sweeps.moving import (
    cancel_calls,
    fence_shard,
    fence_taken_over,
    owed,
    waiting_calls,
)
from slurm.sweeps.rebalancing import PROBE, moves, take
from slurm.sweeps.snapshot import State

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping

    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.running import Running
    from slurm.sweeps.snapshot import Point, Snapshot, SnapshotReader
    from slurm.sweeps.sources import Places, Source

_log = logging.getLogger(__name__)

REBALANCE_EVERY = 30.0
"""The shortest pause between two moves of points from a slow source, in seconds."""
_MOST = 5000
"""The most outcomes in one file in `collected/`."""
_FIRST_COLLECTION = 5.0
_SHARE = 0.02
"""The shortest pause between two collections, in seconds, and the pause as a share of the time since the driver began.

The share makes the pauses of a long sweep longer, so that its files are few.
"""
_LONGEST_COLLECTION = 10.0
"""After so many seconds of copying, a driver looks for newly ended points, and copies the rest later."""
_PAUSES = 0.02, 0.5
"""The shortest and the longest pause between two checks of the tracker for ended elements, in seconds."""
_LOOK = 2.0
"""The pause between two snapshots while a shard is being submitted or a source does not answer, in seconds."""
_SILENCE = 60.0
"""Seconds after which a source that does not answer gets another fault, so that a short outage does not switch it
off.
"""
_PATIENCE = 2.0
"""How many seconds a driver waits for a source that does not answer, while others may have news."""
_PROBE_PATIENCE = 10.0
"""How many seconds the scheduler of a source that is off may take to answer before a point is sent there."""
_NEVER_SUBMITTED = "its client ended before it submitted it"


class Driver:
    """Drives one sweep."""

    def __init__(
        self,
        directory: SweepDirectory,
        reader: SnapshotReader,
        places: Places,
        submits: Running,
        *,
        stop_after: int | None = None,
        health: Health | None = None,
        rebalance_every: float = REBALANCE_EVERY,
    ) -> None:
        self._directory, self._reader, self._places, self._submits = directory, reader, places, submits
        self._stop_after, self.health, self._every = stop_after, health or Health(), rebalance_every
        self._first_seen: dict[int, float] = {}
        self._silent: dict[str, float] = {}  # when a source stopped answering, or had its last fault for this
        self._troubles: Mapping[str, str] = {}
        self._holds = Holds(directory)
        self._began = self._collected_at = self._read_at = self._moved_at = time.monotonic()
        self._known: dict[int, int] = {}  # finished elements of each shard
        self._followed: set[int] = set()
        self._unread: dict[int, str] = {}  # why outcomes of a shard cannot be read
        self._told: set[int] = set()
        self._due = False

    def points(self) -> Generator[Point, None, None]:
        """Yield each point that is done or has failed, as it ends; stops when all submitted points have ended.

        Raises SweepStopped if too many points failed alike, and NoSourceLeft if all sources are off.
        """
        try:
            with ExitStack() as waiting:
                while True:
                    snapshot = self._read()
                    self._follow(snapshot, waiting)
                    yield from self._new(snapshot.points)
                    snapshot = self._refilled(snapshot, waiting)
                    left = set(snapshot.numbers(*_OPEN))
                    if not left and not self._submits.more(snapshot):
                        return
                    yield from self._until_stale(snapshot, left, waiting)
        finally:
            self._collect(all_of_it=True)
            if left_out := self._submits.left_out(self._reader.read(look=False)):
                _log.warning("%s", left_out)

    def collect(self) -> int:
        """Collect once the points that have ended, and logs and files that stayed at their sources earlier; returns how
        many outcomes.
        """
        self._read(patience=None)
        count = self._reader.uncollected
        self._collect(all_of_it=True)
        if collect_left(self._directory, self._places):
            self._reader.learn_collected()
        return count

    def _until_stale(self, snapshot: Snapshot, left: set[int], waiting: ExitStack) -> Iterator[Point]:
        """Yield each point that ends, until another snapshot is due, or all points in `left` have ended."""
        pause = _PAUSES[0]
        while left and not self._is_stale(snapshot):
            time.sleep(pause)
            news = self._news()
            pause = _PAUSES[0] if news else min(1.2 * pause, _PAUSES[1])
            left -= {point.number for point in news if point.state not in _OPEN}
            yield from self._new(news)
            if news and self._submits.adaptive:
                snapshot = self._refilled(self._reader.read(look=False), waiting)
                left = set(snapshot.numbers(*_OPEN))
            self._submits.tend()
            self._collect()

    def _refilled(self, snapshot: Snapshot, waiting: ExitStack) -> Snapshot:
        """Let an adaptive search ask for points while there is room; return a snapshot that includes them."""
        avoid = [source.name for source in self._submits.sources if self.health.is_off(source.name)]
        try:
            if not self._submits.refill(snapshot, [*avoid, *self._silent]):
                return snapshot
        except (SubmissionError, TransportError) as error:  # submitted points keep running
            _log.warning("cannot submit points of the search: %s; trying again", error)
        snapshot = self._reader.read(look=False)
        self._follow(snapshot, waiting)
        return snapshot

    def _new(self, points: Iterable[Point]) -> Iterator[Point]:
        """Yield the points that have ended and were not yielded yet.

        Only outcomes that nobody has collected yet count for the health of sources.
        """
        new = [point for point in points if point.state in _ENDED and point.number not in self._told]
        for point in new:
            self._told.add(point.number)
            if self._reader.is_fresh(point.shard, point.call):
                self.health.note(point)
        yield from new
        self._stop_if_alike()

    def _read(self, patience: float | None = _PATIENCE) -> Snapshot:
        self._read_at = time.monotonic()
        self._places.expect(self._submits.sources)
        snapshot = self._reader.read(patience=patience)
        self._troubles = snapshot.troubles
        self._note_troubles(snapshot)
        changed = False
        for act in (self._fence_taken_over, self._end_abandoned, self._release_abandoned, self._submit_owed):
            try:
                changed |= act(snapshot)
            except SlurmError as error:  # a source that fails now must not stop the others
                _log.warning("%s; trying again", error)
        moved = self._rebalance(snapshot)
        return self._reader.read(look=changed, patience=patience) if changed or moved else snapshot

    def _fence_taken_over(self, snapshot: Snapshot) -> bool:
        return fence_taken_over(snapshot, self._reader, self._places)

    def _release_abandoned(self, snapshot: Snapshot) -> bool:
        self._holds.release_abandoned(snapshot, self._reader, self._places)
        return False

    def _submit_owed(self, snapshot: Snapshot) -> bool:
        """Submit points that were taken back from a source, and that nobody has submitted elsewhere."""
        numbers = owed(snapshot)
        return bool(numbers) and self._submits.resubmit(numbers, why="moved", sources=self._answering) > 0

    @property
    def _answering(self) -> list[Source]:
        return [source for source in self._submits.sources if source.name not in self._silent]

    def _is_stale(self, snapshot: Snapshot) -> bool:
        """Whether another snapshot is due, because other processes have written files, a shard or source is awaited, or
        points may move.
        """
        if self._directory.has_news() or self._health_changed() or self._holds.is_due():
            return True
        now = time.monotonic()
        awaited = bool(snapshot.starting or snapshot.troubles) and now - self._read_at > _LOOK
        return awaited or (len(self._submits.sources) > 1 and now - self._moved_at > self._every)

    def _health_changed(self) -> bool:
        """Whether a source has gone off, or on again, since the last check: then waiting points may move."""
        changed = [source.name for source in self._submits.sources if self.health.is_new(source.name)]
        for name in changed:
            off = self.health.is_off(name)
            _log.warning("%s is %s", name, f"off: {self.health.reason(name)}" if off else "used again")
        self._due |= bool(changed)
        return bool(changed)

    def _follow(self, snapshot: Snapshot, waiting: ExitStack) -> None:
        """Let the tracker of each place follow the shards that have not ended."""
        for number in {point.shard for point in snapshot.points if point.state is State.ALIVE} - self._followed:
            state = self._reader.state(number) if number is not None else None
            if number is not None and state is not None and state.submitted:
                self._followed.add(number)
                waiting.enter_context(state.waiting())
                self._places.of(snapshot.shards[number].cluster).tracker.follow(state)

    def _news(self) -> list[Point]:
        """Return the points of elements that have ended since the last call, as far as the trackers know."""
        found: list[int] = []
        for number in self._followed:
            state = self._reader.state(number)
            ended = state.finished_elements if state else []
            if len(ended) > self._known.get(number, 0):
                try:
                    found += self._reader.add_ended(number, ended)
                except SlurmError as error:
                    if self._unread.get(number) != str(error):
                        self._unread[number] = str(error)
                        _log.warning("cannot read outcomes of shard %d: %s; trying again", number, error)
                    continue
                self._known[number] = len(ended)
        return [self._reader.point(number) for number in dict.fromkeys(found)]

    def _collect(self, *, all_of_it: bool = False) -> None:
        """Write the points that have ended into `collected/`, if a collection is due or with `all_of_it`."""
        now = time.monotonic()
        due = now - self._collected_at > max(_FIRST_COLLECTION, _SHARE * (now - self._began))
        if all_of_it or due or self._reader.uncollected >= _MOST:
            shards, silent = self._directory.shards(), self._troubles
            fresh = [each for each in self._reader.fresh if all_of_it or shards[each[0].shard].url not in silent]
            parts = (fresh[at : at + _MOST] for at in range(0, len(fresh), _MOST))
            for _ in chain.from_iterable(collect(self._directory, self._places, some, silent=silent) for some in parts):
                if not all_of_it and time.monotonic() - now > _LONGEST_COLLECTION:
                    break
            self._reader.learn_collected()
            self._collected_at = now

    def _end_abandoned(self, snapshot: Snapshot) -> bool:
        """Fence shards whose clients died before they queued them, and submit the points of these shards again.

        A client counts as dead a minute after this process first saw its shard. If it was only slow, the fence makes
        sure that its elements run nothing. Returns whether there are such shards.
        """
        now, abandoned = time.monotonic(), list[int]()
        for number in snapshot.starting:
            shard = snapshot.shards[number]
            place, state = self._places.of(shard.cluster), self._reader.state(number)
            if state is not None:  # the job of this submission may be queued
                self._places.act(place, "recover", partial(place.recovery.complete, [state]))
                if state.submitted or state.refused:
                    continue
            if now - self._first_seen.setdefault(number, now) > place.timings.abandoned_claim:
                self._places.act(place, "end points", partial(fence_shard, place, shard, _NEVER_SUBMITTED))
                _log.warning(
                    "%s was never submitted, because its client ended: its points are submitted anew", shard.key
                )
                abandoned += shard.numbers
        if abandoned:
            self._submits.resubmit(abandoned, why="abandoned", sources=self._answering)
        return bool(abandoned)

    # Sources that are off, or slow.

    def _note_troubles(self, snapshot: Snapshot) -> None:
        """Count a fault for each source that does not answer. Raises NoSourceLeft if all sources are off."""
        troubles = {s.source: snapshot.troubles[s.url] for s in snapshot.shards.values() if s.url in snapshot.troubles}
        self._silent = {name: self._silent.get(name, self._read_at) for name in troubles}
        for name, trouble in troubles.items():
            if self._read_at - self._silent[name] >= _SILENCE:
                self._silent[name] = self._read_at
                self.health.fault(name, trouble)
        open_ = {point.source for point in snapshot.points if point.state in _OPEN}
        if open_ and all(source is not None and self.health.is_off(source) for source in open_):
            names = {*open_, *(source.name for source in self._submits.sources)}
            if all(name is not None and self.health.is_off(name) for name in names):
                why = "; ".join(sorted(f"{name}: {self.health.reason(name or '')}" for name in names))
                raise NoSourceLeft(
                    f"needs you: every source is off ({why}). Complete the sweep elsewhere, with take_over=True for "
                    "points of sources that do not answer"
                )

    def _rebalance(self, snapshot: Snapshot) -> bool:
        """Move waiting points from sources that are off, or slower than idle ones; returns whether any point moved."""
        now, sources = time.monotonic(), self._submits.sources
        if len(sources) == 1 or (now - self._moved_at < self._every and not self._due):
            return False
        self._moved_at, self._due = now, False
        waiting = waiting_calls(snapshot, self._reader)
        moved = False
        for move in moves(snapshot, sources, waiting, self.health):
            if move.why == PROBE and not scheduler_answers(move.to.cluster.place, _PROBE_PATIENCE):
                continue  # a submission would wait for this source
            try:
                points = take(move, snapshot, self._reader, self._places, waiting, directory=self._directory)
                moved |= bool(points)
                if points:
                    _log.info("%d points move from %s to %s: %s", len(points), move.of, move.to.name, move.why)
                    self._submits.resubmit(points, why=move.why, sources=[move.to], look=False)
            except SlurmError as error:
                _log.warning("cannot move points from %s to %s: %s", move.of, move.to.name, error)
        return moved

    def _stop_if_alike(self) -> None:
        """Cancel the sweep and raise SweepStopped if `stop_after` points have failed alike."""
        pattern, count = self.health.most_alike()
        if self._stop_after is not None and count >= self._stop_after:
            cancel_calls(self._reader.read(), self._reader, self._places)
            raise SweepStopped(
                f"stopped, because {count} points have failed alike: {pattern}. What had not ended was cancelled; "
                "correct the code, and complete the sweep with failed=True",
                pattern=pattern,
            )


_ENDED = (State.DONE, State.FAILED)
_OPEN = (State.ALIVE, State.IN_DOUBT)
