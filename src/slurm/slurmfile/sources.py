"""Sources: find the Slurmfile, check that the user can trust it, and read it once.

A Slurmfile names programs that run as the user who reads it. A file found by searching is used only if the user or root
owns it and others cannot write to it. The check uses the opened file, and its content is read from the same descriptor,
so that nobody can replace the file in between. A file named by an argument or by $SLURMFILE is trusted.
"""

from __future__ import annotations

import errno
import os
import pwd
import shlex
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from slurm.errors import SlurmfileError
from slurm.slurmfile import trust

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "Slurmfile"
MOST_BYTES = 1_000_000


class Source(NamedTuple):
    """A Slurmfile: its path, its content, and how it was found."""

    path: Path
    data: bytes
    origin: str
    """How it was found: `argument`, `$SLURMFILE`, or `found`."""


def named(path: str | os.PathLike[str], origin: str = "argument") -> Source:
    """Read the Slurmfile at this path. Raises SlurmfileError if that fails."""
    file = Path(path)
    try:
        with open(file, "rb") as opened:
            return Source(file, _read(file, opened), origin)
    except OSError as error:
        raise _unreadable(file, error) from error


def source(path: str | os.PathLike[str] | None = None) -> Source:
    """Return the Slurmfile at `path`, or the one that `search` finds. Raises SlurmfileError if there is none."""
    found = named(path) if path else search()
    if found is None:
        raise SlurmfileError(
            f"there is no {NAME} in {Path.cwd()}, in a directory above it (up to the home directory or the root of the "
            "file system), or in ~/.config/slurm-tasks; write one, or name it in $SLURMFILE"
        )
    return found


def search() -> Source | None:
    """Find $SLURMFILE, or the nearest Slurmfile upward from the working directory, or the user's own; else None.

    The user's own is `$XDG_CONFIG_HOME/slurm-tasks/Slurmfile`. Raises SlurmfileError if the file is unreadable or not
    trusted. The search does not continue past such a file, because the next one would define another cluster.
    """
    if os.environ.get("SLURMFILE"):
        return named(Path(os.environ["SLURMFILE"]).expanduser(), "$SLURMFILE")
    for directory in _upward(Path.cwd()):
        found = _in(directory)
        if found is not None:
            return found
    try:
        users = trust.configuration() / NAME
    except FileNotFoundError:
        return None
    return named(users, "found") if users.is_file() else None


def _upward(start: Path) -> Iterator[Path]:
    """Directories from `start` up to the home directory, or to the root of the file system."""
    here = start.resolve()
    try:
        home = Path.home().resolve()
    except RuntimeError:  # the user has no home directory
        home = None
    device = here.stat().st_dev
    for directory in (here, *here.parents):
        try:
            if directory.stat().st_dev != device:
                return
        except OSError:  # a parent that the user may not read
            return
        yield directory
        if directory == home:
            return


def _in(directory: Path) -> Source | None:
    """Read and check the Slurmfile of a directory; None if the directory has none."""
    path = directory / NAME
    try:
        # O_NONBLOCK: opening a named pipe must not block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO) or not os.path.lexists(path):
            return None
        raise _unreadable(path, error) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return None
    with open(descriptor, "rb") as file:
        try:
            data = _read(path, file)
        except OSError as error:
            raise _unreadable(path, error) from error
    if (reason := _distrust(status)) and not trust.is_trusted(path, data):
        raise SlurmfileError(_refusal(path, data, reason, own=status.st_uid == os.geteuid()))
    return Source(path, data, "found")


def _read(path: Path, file: IO[bytes]) -> bytes:
    """Read a file. Raises SlurmfileError if it is larger than the limit."""
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise SlurmfileError(f"{path} is larger than {MOST_BYTES // 1_000_000} MB, the limit for a {NAME}")
    return data


def _unreadable(path: Path, error: OSError) -> SlurmfileError:
    return SlurmfileError(f"cannot read {path}: {error.strerror}")


def _distrust(status: os.stat_result) -> str:
    """Return why other users may have written an opened file, or "" if only the user or root can write it."""
    if status.st_uid not in (os.geteuid(), 0):
        return f"belongs to {_user(status.st_uid)}"
    return f"can be changed by every user (mode {stat.S_IMODE(status.st_mode):04o})" if status.st_mode & 0o002 else ""


def _user(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user with the id {uid}"


def _refusal(path: Path, data: bytes, reason: str, *, own: bool) -> str:
    quoted = shlex.quote(str(path))
    command = f"slurm config trust {quoted}"
    before = trust.trusted_text(path)
    if before is not None:
        difference = trust.difference(before, data)
        return f"{path} {reason}, and has changed since you trusted it:\n{difference}\nTo trust it again: {command}"
    protect = f"To protect it, run: chmod o-w {quoted}. " if own else ""
    return (
        f"{path} {reason}. It is not used, because a {NAME} names programs that run as you. {protect}To trust it after "
        f"you have read it, run: {command}. To use another one, name it in $SLURMFILE"
    )
