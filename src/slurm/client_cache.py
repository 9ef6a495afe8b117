"""Client cache: files that this machine can recreate, and logs of builds."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from slurm.protocol.directories import make_private


def cached(*names: str) -> Path:
    """Return the path of a file or directory in the user's cache. Raises OSError if the user has no home directory."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "slurm-tasks", *names)
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from error


def new_log(name: str) -> Path:
    """Create an empty log in the cache, or in a temporary directory if the cache cannot be written."""
    try:
        log = cached("builds", f"{name}.log")
        make_private(str(log.parent))
        log.write_text("")
    except OSError:
        log = Path(tempfile.mkdtemp(prefix="slurm-tasks-builds-"), f"{name}.log")
        log.write_text("")
    return log
