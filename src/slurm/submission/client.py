"""Client: describe the process that submits, for the record of a submission."""

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
    except (KeyError, OSError):  # in a container, the user may have no name
        return str(os.getuid())
