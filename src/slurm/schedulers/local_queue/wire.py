"""The supervisor's own directory, where commands and supervisor meet."""

from __future__ import annotations

import os

REFUSED = "the local scheduler refuses: "
"""How a command's words begin where nothing was taken, for certain."""
NO_ANSWER = "no answer from the local scheduler"
"""How a command's words begin where the supervisor didn't answer in time."""
MOST_TASKS = 1_000_000
"""In one array."""
FORM = "3"
"""The form of requests and of the files kept: part of the directory's name, so that two versions never meet."""


def place() -> str:
    """Where the supervisor's own directory is."""
    path = os.environ.get("SLURMTASKS_LOCAL_DIR") or f"/tmp/slurm-tasks-{os.getuid()}"  # noqa: S108 - see `directory`
    return os.path.join(path, FORM)


def directory() -> str:
    """The supervisor's own directory, on this machine's own disk: SLURMTASKS_LOCAL_DIR, or one under /tmp.

    Raises PermissionError if somebody else has made it.
    """
    path = place()
    os.makedirs(path, mode=0o700, exist_ok=True)
    status = os.stat(path)
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        message = f"{path} is not yours alone; remove it, or set SLURMTASKS_LOCAL_DIR to a directory of your own"
        raise PermissionError(message)
    return path
