"""Directories of the library's own state: only the user can access them, and no links of other users lead to them."""

from __future__ import annotations

import os
import stat

from slurm.protocol.files import is_private


def make_private(path: str) -> None:
    """Create a directory and its missing parents with mode 0700, independent of the umask."""
    missing, path = [], os.path.abspath(path)
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        os.makedirs(each, mode=0o700, exist_ok=True)  # makedirs applies the mode to the last directory only


def socket_directory(name: str) -> str:
    """Create and check a directory for sockets: `name` in SLURMTASKS_LOCAL_DIR, or in the user's directory in /tmp.

    Raises PermissionError if another user can access it or has created a part of it. In /tmp no part may be a symbolic
    link. The path in SLURMTASKS_LOCAL_DIR may contain links that belong to the user or to root.
    """
    named = os.environ.get("SLURMTASKS_LOCAL_DIR")
    base = socket_base()
    for path in (base, f"{base}/{name}"):
        link = strange_link(path) if named else path if os.path.islink(path) else None
        if link is not None:
            _refuse(f"{link} is a symbolic link")
        make_private(path)
        status = os.stat(path, follow_symlinks=bool(named))
        if path == base:
            if status.st_uid == 0 and (status.st_mode & stat.S_ISVTX or not status.st_mode & 0o022):
                continue  # such as /dev/shm: other users cannot rename the user's entries
            if status.st_uid == os.geteuid() and not named and status.st_mode & 0o077:
                os.chmod(base, 0o700)  # an earlier version left the mode to the umask; the next pass checks the content
                continue
        if status.st_uid != os.geteuid():
            _refuse(f"{path} belongs to user {status.st_uid}")
        if not is_private(status):
            from shlex import quote  # noqa: PLC0415 - only for an error message

            _refuse(f"{path} is writable by other users (mode {status.st_mode & 0o7777:04o}; chmod go-w {quote(path)})")
    return f"{base}/{name}"


def socket_base() -> str:
    """Return the directory that contains all socket directories."""
    return os.environ.get("SLURMTASKS_LOCAL_DIR") or f"/tmp/slurm-tasks-{os.geteuid()}"  # noqa: S108 - it is checked


def _refuse(problem: str) -> None:
    raise PermissionError(
        f"{problem}, so it cannot hold sockets: set SLURMTASKS_LOCAL_DIR to a directory that only you can write"
    )


def strange_link(path: str, depth: int = 0) -> str | None:
    """Return the first symbolic link on an absolute path that neither the user nor root owns, or None."""
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
