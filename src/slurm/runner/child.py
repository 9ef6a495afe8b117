"""Child: a worker process of an element. Its parent checks whether it has ended without waiting for it."""

from __future__ import annotations

import os
import signal
import time

HOLD_SECONDS = 1.0
"""Seconds before the call of a worker that a signal has killed counts as failed. If the scheduler ends the whole
element, it also kills this process within this time; the call then runs again in the next attempt."""
GRACE_SECONDS = 1.0
"""Seconds between SIGTERM and SIGKILL to the workers when this process ends. Schedulers allow 2 seconds or more."""
_OWN_FAULT = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)


class Child:
    """A forked process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        """The exit status; 128 + n for signal n, as in a shell. The parent uses it from the time `due` on."""
        self.due = 0.0

    def has_ended(self) -> bool:
        """Whether the process has ended; does not wait."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.status = code if code >= 0 else 128 - code
                self.due = time.monotonic() + (HOLD_SECONDS if code < 0 and -code not in _OWN_FAULT else 0)
        return self.status is not None
