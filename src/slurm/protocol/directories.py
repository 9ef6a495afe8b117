"""Directories that hold our own state: for the user alone whatever the umask, and not reached by links of others."""

from __future__ import annotations

import os
import stat

from slurm.protocol.files import is_private


def make_private(path: str) -> None:
    """Make a directory, and what is missing of its parents, for the user alone (0700) whatever the umask."""
    missing, path = [], os.path.abspath(path)
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        os.makedirs(each, mode=0o700, exist_ok=True)  # which gives this mode to the last directory only


def socket_directory(name: str) -> str:
    """Make and check a directory for sockets: `name` in SLURMTASKS_LOCAL_DIR, or in one of the user's own under /tmp.

    Raises PermissionError if others could reach what is in it, or had a hand in making it. In /tmp no part of it may be
    a link; a named one may be reached by links of the user's or root's.
    """
    named = os.environ.get("SLURMTASKS_LOCAL_DIR")
    base = socket_place()
    for place in (base, f"{base}/{name}"):
        link = strange_link(place) if named else place if os.path.islink(place) else None
        if link is not None:
            _refuse(f"{link} is a link to another place")
        make_private(place)
        status = os.stat(place, follow_symlinks=bool(named))
        if place == base:
            if status.st_uid == 0 and (status.st_mode & stat.S_ISVTX or not status.st_mode & 0o022):
                continue  # such as /dev/shm: nobody else can rename what the user has there
            if status.st_uid == os.geteuid() and not named and status.st_mode & 0o077:
                os.chmod(base, 0o700)  # an earlier version left it to the umask; what is in it is looked at next
                continue
        if status.st_uid != os.geteuid():
            _refuse(f"{place} belongs to user {status.st_uid}")
        if not is_private(status):
            from shlex import quote  # noqa: PLC0415 - only to word an error

            _refuse(f"{place} can be written by others (mode {status.st_mode & 0o7777:04o}; chmod go-w {quote(place)})")
    return f"{base}/{name}"


def socket_place() -> str:
    """Where directories for sockets are."""
    return os.environ.get("SLURMTASKS_LOCAL_DIR") or f"/tmp/slurm-tasks-{os.geteuid()}"  # noqa: S108 - it is checked


def _refuse(found: str) -> None:
    message = f"{found}, so no socket is kept there: set SLURMTASKS_LOCAL_DIR to a directory of your own"
    raise PermissionError(message)


def strange_link(path: str, depth: int = 0) -> str | None:
    """The first link on the way to an absolute path that neither the user nor root has made; None if there is none."""
    at = ""
    for name in filter(None, os.path.abspath(path).split("/") if depth == 0 else path.split("/")):
        at = f"{at}/{name}"
        if not os.path.islink(at):
            continue
        if os.lstat(at).st_uid not in (0, os.geteuid()):
            return at
        target = os.path.join(os.path.dirname(at), os.readlink(at))
        if depth < 40 and (found := strange_link(target, depth + 1)):
            return found
    return None
