"""Child: a worker process of an element; its parent learns of its end without waiting."""

from __future__ import annotations

import os
import signal
import time

HOLD_SECONDS = 1.0
"""The delay before the call of a worker that was killed by a signal fails. If the scheduler ends the whole element, it
kills this process, too, within this time; the call then has not failed but runs again in the next attempt."""
GRACE_SECONDS = 1.0
"""The time between SIGTERM and SIGKILL to the workers when this process ends; schedulers allow 2 seconds or more."""
_OWN_FAULT = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)


class Child:
    """A forked process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        """The exit status, 128 + n for signal n as in a shell; it takes effect at the time `due`."""
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
