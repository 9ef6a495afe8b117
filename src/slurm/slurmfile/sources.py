"""Sources: which Slurmfile counts, read once, and only if the user decides what is in it.

A Slurmfile names programs that run as its reader. One that is found by searching counts if the user or root owns it and
not everybody may write to it; what was checked is the opened file, and what it held then is what is used. One that is
named, by an argument or by $SLURMFILE, is trusted by that.
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
    """A Slurmfile that counts: its path, what it holds, and by what it was found."""

    path: Path
    data: bytes
    origin: str
    """`argument`, `$SLURMFILE`, or `found`."""


def named(path: str | os.PathLike[str], origin: str = "argument") -> Source:
    """The Slurmfile of this path. Raises SlurmfileError if it can't be read."""
    file = Path(path)
    try:
        with open(file, "rb") as opened:
            return Source(file, _read(file, opened), origin)
    except OSError as error:
        raise _unreadable(file, error) from error


def source(path: str | os.PathLike[str] | None = None) -> Source:
    """The Slurmfile that counts: `path`, else what `search` gives. Raises SlurmfileError if there is none."""
    found = named(path) if path else search()
    if found is None:
        raise missing(Path.cwd())
    return found


def missing(start: Path) -> SlurmfileError:
    """The error where a search has found none."""
    return SlurmfileError(
        f"there is no {NAME} in {start} or above it (up to the home directory, or the border of the file system), nor "
        "in ~/.config/slurm-tasks; write one, or name it in $SLURMFILE"
    )


def search(start: Path | None = None) -> Source | None:
    """The Slurmfile of $SLURMFILE, else the nearest upward from here, else the user's own; None if there is none.

    The user's own is `$XDG_CONFIG_HOME/slurm-tasks/Slurmfile`. Raises SlurmfileError for one that can't be read, and
    for one above that the user has no reason to trust: the next one upward would be another cluster.
    """
    if os.environ.get("SLURMFILE"):
        return named(Path(os.environ["SLURMFILE"]).expanduser(), "$SLURMFILE")
    for directory in _upward(start or Path.cwd()):
        found = _in(directory)
        if found is not None:
            return found
    try:
        users = trust.configuration() / NAME
    except FileNotFoundError:
        return None
    return named(users, "found") if users.is_file() else None


def _upward(start: Path) -> Iterator[Path]:
    """Directories from here up to the home directory, or to the last one of the file system."""
    here = start.resolve()
    try:
        home = Path.home().resolve()
    except RuntimeError:  # nobody knows of one
        home = None
    device = here.stat().st_dev
    for directory in (here, *here.parents):
        try:
            if directory.stat().st_dev != device:
                return
        except OSError:  # one above that may not be looked into
            return
        yield directory
        if directory == home:
            return


def _in(directory: Path) -> Source | None:
    """The Slurmfile of a directory, checked; None if it has none."""
    path = directory / NAME
    try:
        # Not blocked by a pipe that somebody has put there.
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
    if (reason := _doubt(status)) and not trust.is_trusted(path, data):
        raise SlurmfileError(_refusal(path, data, reason, own=status.st_uid == os.geteuid()))
    return Source(path, data, "found")


def _read(path: Path, file: IO[bytes]) -> bytes:
    """What a file holds, up to the limit. Raises SlurmfileError for a larger one."""
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        message = f"{path} is larger than {MOST_BYTES // 1_000_000} MB, which no {NAME} needs to be"
        raise SlurmfileError(message)
    return data


def _unreadable(path: Path, error: OSError) -> SlurmfileError:
    return SlurmfileError(f"{path} can't be read: {error.strerror}")


def _doubt(status: os.stat_result) -> str:
    """Why others may have written an opened file; empty if the user or root decides what is in it."""
    if status.st_uid not in (os.geteuid(), 0):
        return f"belongs to {_user(status.st_uid)}"
    return f"can be changed by every user (mode {stat.S_IMODE(status.st_mode):04o})" if status.st_mode & 0o002 else ""


def _user(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user with the number {uid}"


def _refusal(path: Path, data: bytes, reason: str, *, own: bool) -> str:
    quoted = shlex.quote(str(path))
    command = f"slurm config trust {quoted}"
    before = trust.trusted_text(path)
    if before is not None:
        difference = trust.difference(before, data)
        return f"{path} {reason}, and has changed since you trusted it:\n{difference}\nTo trust it again: {command}"
    mend = f"To keep others from changing it: chmod o-w {quoted}. " if own else ""
    return (
        f"{path} {reason}. It isn't used: a {NAME} names programs that run as you. {mend}To trust it, once you have "
        f"read it: {command}. To use another: name it in $SLURMFILE"
    )
