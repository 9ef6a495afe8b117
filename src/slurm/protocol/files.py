"""Files of a job directory: atomic writes, and the ownership check before a file is trusted."""

from __future__ import annotations

import os

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import IO


class NewFile:
    """A file that appears complete or not at all, and never replaces another one.

    The bytes are written to a hidden file beside the target, flushed and fsynced. `commit` links it to the target's
    name, which succeeds for one writer only. A writer that dies leaves a hidden file but no target.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        directory, name = os.path.split(path)
        self._hidden = os.path.join(directory, f".{name}.{os.urandom(6).hex()}")
        self._descriptor = os.open(self._hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.file: IO[bytes] = os.fdopen(self._descriptor, "wb")

    def commit(self) -> bool:
        """Give the file its name. Returns False if the name is taken; the existing file stays."""
        try:
            self.file.flush()
            os.fsync(self._descriptor)
            self.file.close()
            return self._link()
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove the hidden file."""
        if os.path.exists(self._hidden):
            os.unlink(self._hidden)
        self.file.close()  # on a full disk this raises again

    def _link(self) -> bool:
        try:
            os.link(self._hidden, self._path)
        except FileExistsError:
            return False
        except OSError:
            # Some file systems have no hard links. There the check and the rename are two steps; they race only if two
            # attempts of one element finish within the same microseconds.
            if os.path.exists(self._path):
                return False
            os.rename(self._hidden, self._path)
        return True


def commit(path: str, data: bytes) -> bool:
    """Write a small file by `NewFile`. Returns False if the name is taken; the existing file stays."""
    new = NewFile(path)
    try:
        new.file.write(data)
    except BaseException:  # an interrupt must not leave the hidden file behind, either
        new.discard()
        raise
    return new.commit()


def replace(path: str, data: bytes | IO[bytes]) -> None:
    """Write a file atomically from bytes or from an open file, replacing an existing one."""
    directory, name = os.path.split(path)
    hidden = os.path.join(directory, f".{name}.{os.urandom(6).hex()}")
    try:
        with open(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            while block := data if isinstance(data, bytes) else data.read(1 << 20):
                file.write(block)
                if block is data:
                    break
            file.flush()
            os.fsync(file.fileno())
        os.replace(hidden, path)
    except BaseException:  # as in `commit`
        if os.path.exists(hidden):
            os.unlink(hidden)
        raise


def open_own(path: str) -> IO[bytes]:
    """Open a file to unpickle, run or trust it.

    Raises UntrustedFile unless the file and its directory belong to the user and only the user can write to them: a
    user who can write a pickle can run code as its reader.
    """
    file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    directory = os.path.dirname(path)
    try:
        statuses = (directory, os.stat(directory)), (path, os.fstat(file.fileno()))
    except OSError:  # the directory was removed meanwhile
        file.close()
        raise
    for checked, status in statuses:
        if not is_private(status):
            from slurm.errors import UntrustedFile  # noqa: PLC0415 - imports concurrent.futures

            file.close()
            raise UntrustedFile(checked, uid=status.st_uid, mode=status.st_mode, me=os.geteuid())
    return file


def is_own(path: str) -> bool:
    """Whether a file and its directory belong to the user and only the user can write to them."""
    return is_private(os.stat(os.path.dirname(path))) and is_private(os.stat(path))


def is_private(status: os.stat_result) -> bool:
    """Whether a file belongs to the user and only the user, or a group without other members, can write to it."""
    mode = status.st_mode
    if status.st_uid != os.geteuid() or mode & 0o002:
        return False
    return not mode & 0o020 or _only_member(status.st_gid)


def _only_member(gid: int) -> bool:
    """Whether the user is the only known member of a group.

    Many sites do not list their users. There, a group without listed members counts as the user's own group if it has
    the user's name.
    """
    import grp  # noqa: PLC0415 - few files are writable by a group
    import pwd  # noqa: PLC0415

    try:
        group, me = grp.getgrgid(gid), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    members = {*group.gr_mem, *(user.pw_name for user in pwd.getpwall() if user.pw_gid == gid)}
    return (members or {group.gr_name}) == {me}
