"""WorkerProcess: a worker process, seen from its element: its calls, its answers, and how to end it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time

from slurm.protocol.frames import BEGUN, BROKEN, HEAD_BYTES, complete, encode
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.child import Child

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurm.protocol.frames import Head
    from slurm.runner.pools.worker import Piece

_READ_BYTES = 1 << 20
_LONG_SECONDS = 1.0
"""If a call takes more seconds, the client is notified of its start, and can read its log while it runs."""
_STOP_SECONDS = 0.05


class WorkerProcess(Child):
    """A worker process, its calls, and the parent's ends of its pipes."""

    def __init__(self, pid: int, number: int, pieces: int, answers: int, *, log: str) -> None:
        super().__init__(pid)
        self.number, self.pieces, self.answers = number, pieces, answers
        self.log = log
        """The path of the log of the worker."""
        self.piece: Piece | None = None
        self.next = 0
        """The number of the call that the process makes now or next."""
        self.begun: Head | None = None
        """The start of this call, if the worker has reported it."""
        self.made = 0
        """The number of calls that the process has made."""
        self.kills = 0
        """The number of processes that the kernel had killed because of their memory when this one got its calls."""
        self.cancelled = False
        """Whether the process was killed because its call was cancelled."""
        self._long_at = 0.0
        self._buffer = bytearray()

    @property
    def wait_until(self) -> float:
        """The time from which a process that has ended counts as ended."""
        return 0.0 if self.cancelled else self.due

    def long_call(self, now: float) -> bytes | None:
        """Return the start of the current call as a frame, once, if the call takes long; otherwise None."""
        if self.begun is None or now < self._long_at:
            return None
        self._long_at = math.inf
        return encode(self.begun)

    def read(self) -> list[bytes]:
        """Read from the pipe; return the complete answers as frames.

        Raises BlockingIOError if there is nothing to read, EOFError at the end, and RuntimeError if the initializer has
        failed.
        """
        data = os.read(self.answers, _READ_BYTES)
        if not data:
            raise EOFError
        self._buffer += data
        found = []
        for head, frame in complete(self._buffer):
            if head.kind == BROKEN:
                text = frame[HEAD_BYTES:].decode(errors="replace")
                raise RuntimeError(f"the initializer of the pool raised {text}; its traceback is in {self.log}")
            if head.kind == BEGUN:
                self.begun, self._long_at = head, time.monotonic() + _LONG_SECONDS
            else:
                self.begun, self.next = None, head.number + 1
                self.made += 1
                found.append(frame)
        return found

    @property
    def retired(self) -> bool:
        """Whether the process gets no more calls."""
        return self.pieces < 0

    def retire(self) -> None:
        """Give the process no more calls. It ends when it has made the calls that it has."""
        if self.pieces >= 0:
            os.close(self.pieces)
            self.pieces = -1

    def stop(self) -> bool:
        """Stop the process, so that it answers nothing more. Return False if it does not stop soon, or has ended."""
        if self.has_ended():
            return False
        os.kill(self.pid, signal.SIGSTOP)
        end = time.monotonic() + _STOP_SECONDS
        while True:
            state = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if state is not None and state.si_code == os.CLD_STOPPED:
                return True
            if state is not None or time.monotonic() > end:
                self.go_on()
                return False
            time.sleep(0.001)

    def go_on(self) -> None:
        """Continue the process after `stop`."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def cancel(self) -> None:
        """Kill the stopped process, and the processes that it has started."""
        self.cancelled = True
        for pid in (*_descendants(self.pid), self.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> Iterator[int]:
    """Yield the ids of all descendants of a process."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])  # proc(5): field 4, ppid
                children.setdefault(parent, []).append(int(name))
    found = [pid]
    for each in found:
        found += children.get(each, ())
    yield from found[1:]
