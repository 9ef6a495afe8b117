"""Backlog: limits how many calls of an executor are in flight. Calls without a free slot wait in this process."""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from slurm.tracking.interruptible import in_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from slurm.jobs.completion import Waitable


class Entry(NamedTuple):
    """One submission of an executor."""

    start: Callable[[], Collection[Waitable]]
    """Submits the entry. Returns one job for each element."""
    failed: Callable[[BaseException], object]
    """Receives the exception of `start`, if the entry had to wait."""
    dropped: Callable[[], object]
    """Called if the entry is withdrawn before it starts."""
    alone: bool
    """Whether it may need all slots, as a map does. It then starts when nothing else is in flight."""


class Backlog:
    """Starts entries in order. At most `slots` elements are in flight at once; None means no limit.

    A thread starts the entries that had to wait. It is not a daemon thread, so a program ends only after they have been
    submitted. The thread runs only while entries wait.
    """

    def __init__(self, slots: int | None) -> None:
        self._slots = slots or 0
        self._free = self._slots
        self._waiting: deque[Entry] = deque()
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()

    def add(self, entry: Entry) -> None:
        """Start an entry now if there is room, else later. If it starts now, raises what `start` raises."""
        if not self._slots:
            entry.start()
            return
        with self._changed:
            later = self._thread is not None or not self._take(entry)
            if later:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="slurm-executor")
                    thread.start()  # it first waits for this lock
                    self._thread = thread
                self._waiting.append(entry)
                self._changed.notify_all()
        if not later:
            self._start(entry)

    def withdraw(self, entry: Entry) -> bool:
        """Drop an entry that waits. Returns False if it does not wait."""
        with self._changed:
            if entry not in self._waiting:
                return False
            self._waiting.remove(entry)
            self._changed.notify_all()
        entry.dropped()
        return True

    def clear(self) -> None:
        """Drop all entries that wait."""
        for entry in tuple(self._waiting):
            self.withdraw(entry)

    def drain(self) -> None:
        """Wait until no entry waits."""
        with self._changed:
            in_pieces(partial(self._changed.wait_for, lambda: self._thread is None))

    def _take(self, entry: Entry) -> bool:
        """Take the slots that an entry needs, if they are free. The caller holds the lock."""
        wanted = self._wanted(entry)
        if wanted > self._free:
            return False
        self._free -= wanted
        return True

    def _wanted(self, entry: Entry) -> int:
        return self._slots if entry.alone else 1

    def _start(self, entry: Entry) -> None:
        jobs: Collection[Waitable] = ()
        try:
            jobs = entry.start()
        finally:
            self._follow(jobs, self._wanted(entry))

    def _follow(self, jobs: Collection[Waitable], taken: int) -> None:
        """Free the slots that jobs do not need: surplus slots now, the other slots as elements end."""
        left = len(jobs)

        def ended() -> None:
            nonlocal left
            with self._changed:
                left -= 1
                if left < taken:
                    self._free += 1
                    self._changed.notify_all()

        with self._changed:
            self._free += max(0, taken - left)
            self._changed.notify_all()
        for job in jobs:
            job.when_finished(ended)

    def _run(self) -> None:
        while (entry := self._next()) is not None:
            try:
                self._start(entry)
            except BaseException as error:  # noqa: BLE001 - pickling runs the user's code; the future raises it
                entry.failed(error)
            del entry  # otherwise its arguments would be kept until the next entry

    def _next(self) -> Entry | None:
        """Wait until the first entry may start; None if there are no more."""
        with self._changed:
            while self._waiting:
                if self._take(self._waiting[0]):
                    return self._waiting.popleft()
                self._changed.wait()
            self._thread = None
            self._changed.notify_all()
            return None
