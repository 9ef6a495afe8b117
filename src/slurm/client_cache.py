"""Cache: what this program keeps on this machine, and can make again; and the logs of what it has built."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from slurm.protocol.directories import make_private


def cached(*names: str) -> Path:
    """The path of a file or directory in the user's cache. Raises OSError where nobody knows of a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "slurm-tasks", *names)
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from error


def new_log(name: str) -> Path:
    """A new, empty log; in a temporary directory where there is no home, or none that can be written."""
    try:
        log = cached("builds", f"{name}.log")
        make_private(str(log.parent))
        log.write_text("")
    except OSError:
        log = Path(tempfile.mkdtemp(prefix="slurm-tasks-builds-"), f"{name}.log")
        log.write_text("")
    return log
