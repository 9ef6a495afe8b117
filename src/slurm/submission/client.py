"""Client: the process that submits, as the record of a submission names it."""

from __future__ import annotations

import getpass
import os
import platform
import socket
from typing import Any

import cloudpickle

from slurm.version import __version__


def process() -> dict[str, Any]:
    """The host, the user, the process, and its working directory."""
    return {"host": socket.gethostname(), "user": _user(), "pid": os.getpid(), "directory": os.getcwd()}


def versions() -> dict[str, str]:
    """The versions that decide whether another process can read the pickles."""
    return {
        "slurm-tasks": __version__,
        "python": platform.python_version(),
        "cloudpickle": cloudpickle.__version__,
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container nobody may know the name of who runs it
        return str(os.getuid())
