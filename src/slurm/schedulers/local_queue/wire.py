"""The supervisor's own directory, where commands and supervisor meet."""

from __future__ import annotations

import os

from slurm.protocol.directories import socket_base, socket_directory

REFUSED = "the local scheduler refuses: "
"""Prefix of a command's message if nothing was queued."""
NO_ANSWER = "no answer from the local scheduler"
"""Prefix of a command's message if the supervisor did not answer in time."""
MOST_TASKS = 1_000_000
"""The limit of one array."""
NEVER_SATISFIED = "DependencyNeverSatisfied"
"""The reason for an element that is cancelled because an element that it waits for failed."""
FORM = "3"
"""The form of requests and of the files kept: part of the directory's name, so that two versions never meet."""


def place() -> str:
    """Where the supervisor's own directory is."""
    return os.path.join(socket_base(), FORM)


def directory() -> str:
    """The supervisor's own directory, on this machine's own disk: in SLURMTASKS_LOCAL_DIR, or under /tmp.

    Made if it isn't there. Raises PermissionError if others could reach what is in it.
    """
    return socket_directory(FORM)
