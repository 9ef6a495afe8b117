"""Constants that commands and the supervisor share, and the supervisor's directory."""

from __future__ import annotations

import os

from slurm.protocol.directories import socket_base, socket_directory

REFUSED = "the local scheduler refuses: "
"""Prefix of a command's error message if nothing was queued."""
NO_ANSWER = "no answer from the local scheduler"
"""Prefix of a command's error message if the supervisor did not answer in time."""
MOST_TASKS = 1_000_000
"""The most tasks of one array."""
NEVER_SATISFIED = "DependencyNeverSatisfied"
"""The reason of an element that is cancelled because a dependency failed."""
HELD, DEPENDENCY, TASK_LIMIT = "JobHeldUser", "Dependency", "JobArrayTaskLimit"
RESOURCES, PRIORITY = "Resources", "Priority"
"""The reasons why tasks wait, as in squeue(1): for their release, for other jobs, for tasks of their array, for CPUs,
and for tasks of earlier submissions that wait for CPUs."""
FORM = "3"
"""The version of messages and files. It names the directory, so that two versions never use the same one."""


def path() -> str:
    """Return the path of the supervisor's directory."""
    return os.path.join(socket_base(), FORM)


def directory() -> str:
    """Create and check the supervisor's directory on a local disk: in SLURMTASKS_LOCAL_DIR, or under /tmp.

    Raises PermissionError if other users can access it.
    """
    return socket_directory(FORM)
