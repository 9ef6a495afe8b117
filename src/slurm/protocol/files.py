"""How files of a job directory are written, whole or not at all, and when a pickle may be opened."""

from __future__ import annotations

import os

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import IO


class NewFile:
    """A file that appears whole or not at all, and only where nothing is yet.

    Bytes are written beside the target under a hidden name, flushed and fsynced; `commit` then links it to the
    target's name, which the file system does for one writer only. A writer that dies leaves a hidden file, no target.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        directory, name = os.path.split(path)
        self._hidden = os.path.join(directory, f".{name}.{os.urandom(6).hex()}")
        self._descriptor = os.open(self._hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.file: IO[bytes] = os.fdopen(self._descriptor, "wb")

    def commit(self) -> bool:
        """Put the file in its place; False if there was one already, which then stays."""
        try:
            self.file.flush()
            os.fsync(self._descriptor)
            self.file.close()
            return self._link()
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget what was written."""
        if os.path.exists(self._hidden):
            os.unlink(self._hidden)
        self.file.close()  # which on a full disk raises once more

    def _link(self) -> bool:
        try:
            os.link(self._hidden, self._path)
        except FileExistsError:
            return False
        except OSError:
            # Some file systems have no hard links. There the check and the rename are two steps; two attempts of one
            # element would have to end within the same microseconds to pass between them.
            if os.path.exists(self._path):
                return False
            os.rename(self._hidden, self._path)
        return True


def commit(path: str, data: bytes) -> bool:
    """Write a small file by `NewFile`; False if there was one already, which then stays."""
    new = NewFile(path)
    try:
        new.file.write(data)
    except BaseException:
        new.discard()
        raise
    return new.commit()


def replace(path: str, data: bytes | IO[bytes]) -> None:
    """Write a file that appears whole, in place of one that may be there; from bytes, or from an open file."""
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
    except BaseException:
        if os.path.exists(hidden):
            os.unlink(hidden)
        raise


def open_own(path: str) -> IO[bytes]:
    """Open a file to unpickle, run or believe: only if it is the user's own and nobody else can write to it.

    The same holds for its directory. Raises UntrustedFile otherwise: whoever can write a pickle can run code as its
    reader.
    """
    file = open(path, "rb")  # noqa: SIM115 - it is the caller's
    directory = os.path.dirname(path)
    for place, status in ((directory, os.stat(directory)), (path, os.fstat(file.fileno()))):
        if not is_private(status):
            from slurm.errors import UntrustedFile  # noqa: PLC0415 - carries concurrent.futures

            file.close()
            raise UntrustedFile(place, uid=status.st_uid, mode=status.st_mode, me=os.geteuid())
    return file


def is_own(path: str) -> bool:
    """Whether a file and its directory are the user's own and writable by nobody else."""
    return is_private(os.stat(os.path.dirname(path))) and is_private(os.stat(path))


def is_private(status: os.stat_result) -> bool:
    """Whether a file is the user's own and writable by nobody else; a group with no other member is the user, too."""
    mode = status.st_mode
    if status.st_uid != os.geteuid() or mode & 0o002:
        return False
    return not mode & 0o020 or _only_member(status.st_gid)


def _only_member(gid: int) -> bool:
    """Whether the user is the only member of a group, as far as the machine tells.

    Many sites don't list their users; there a group that lists no members is the user's if it bears the same name.
    """
    import grp  # noqa: PLC0415 - few files are writable by a group
    import pwd  # noqa: PLC0415

    try:
        group, me = grp.getgrgid(gid), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    members = {*group.gr_mem, *(user.pw_name for user in pwd.getpwall() if user.pw_gid == gid)}
    return (members or {group.gr_name}) == {me}
