"""Element: the supervisor's handle of one running task."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from slurm.schedulers.local_queue import monitor, notes
from slurm.schedulers.local_queue.notes import STATUS_UNKNOWN, FinalState
from slurm.schedulers.local_queue.processes import Process

if TYPE_CHECKING:
    from slurm.schedulers.local_queue.messages import Submission

NOT_STARTED = FinalState("NOT_STARTED", "")
"""The script did not run for a reason outside the submission, so it can be started again."""


class Element:
    """A task and its monitor, which is a child of this supervisor or of an earlier one."""

    def __init__(self, id_: str, task: int, submission: Submission, note: str) -> None:
        self.id, self.task = id_, task
        self._submission = submission
        self._note = note
        self._child: int | None = None
        self._monitor = Process(0, "")
        self._cancelled = False

    @classmethod
    def start(cls, start: monitor.Start) -> Element:
        """Start a task. Raises OSError if no process can be created."""
        element = cls(start.id, start.task, start.submission, start.note)
        element._monitor_is(monitor.start(start))
        return element

    @classmethod
    def recover(cls, id_: str, task: int, submission: Submission, note: str) -> Element:
        """Take over a task of an earlier supervisor; `poll` reports whether it still runs."""
        element = cls(id_, task, submission, note)
        found = notes.read(note)
        if found is not None:
            element._monitor = found.monitor
        return element

    def _monitor_is(self, pid: int) -> None:
        self._child, self._monitor = pid, Process.of(pid)

    def poll(self) -> FinalState | None:
        """Return its final state; None while it runs."""
        if self._child is not None:
            if os.waitpid(self._child, os.WNOHANG)[0] == 0:
                return None
            self._child = None
        elif self._monitor.alive:
            return None
        return self._final_state()

    def cancel(self) -> None:
        """Tell its monitor to end it with SIGTERM to its whole session, then SIGKILL."""
        self._cancelled = True
        if self._child is not None or self._monitor.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self._monitor.pid, signal.SIGTERM)

    def _final_state(self) -> FinalState | None:
        """Read the note after the monitor has ended. None if the script still runs; it then gets another monitor."""
        note = notes.read(self._note)
        if note is not None and note.final is not None:
            return note.final
        if note is None or note.void or note.script is None:
            # A child that is about to execute the script checks for its monitor first, and exits.
            return FinalState("CANCELLED", "") if self._cancelled else NOT_STARTED
        if note.monitor != self._monitor and note.monitor.alive:  # started by an earlier supervisor
            self._monitor = note.monitor
        elif note.script.alive:
            with contextlib.suppress(OSError):  # too many processes: the next poll tries again
                self._monitor_is(monitor.take_over(self._note, note.script, self._submission, note.begun))
        else:
            return FinalState("COMPLETED", STATUS_UNKNOWN)
        if self._cancelled:
            self.cancel()
        return None
