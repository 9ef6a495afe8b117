"""WorkerOutput: the text that the calls of a worker print. Each worker has a log for standard output and error."""

from __future__ import annotations

import os
import sys

from slurm.protocol.pools import worker_log
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.job_context import print_to_log

if TYPE_CHECKING:
    from slurm.runner.job_context import JobContext

_OUTPUTS = 1, 2
"""The descriptors of standard output and error."""


def log_path(element: JobContext, worker: int) -> str:
    """Return the path of the log of a worker of an element."""
    task = int(os.environ.get("SLURM_ARRAY_TASK_ID") or element.index)
    return f"{element.directory}/{worker_log(element.index, task, worker)}"


class WorkerOutput:
    """The log of a worker at `path`. If it cannot be opened, the worker prints to the log of its element."""

    def __init__(self, path: str) -> None:
        self._log: int | None = None
        try:
            self._log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.lseek(self._log, 0, os.SEEK_END)
            for descriptor in _OUTPUTS:
                os.dup2(self._log, descriptor)
        except OSError as error:
            print_to_log(f"a worker prints to this log, because it has none of its own: {error}\n")

    def size(self) -> int:
        """Flush what was printed, and return the size of the log; 0 if there is none."""
        flush()
        return 0 if self._log is None else os.lseek(self._log, 0, os.SEEK_CUR)  # printing moves this offset


def flush() -> None:
    """Flush the output streams, which the user's code may have closed."""
    for stream in (sys.stdout, sys.stderr):
        try:  # contextlib.suppress would take longer than the flush
            stream.flush()
        except (AttributeError, ValueError, OSError):
            continue
