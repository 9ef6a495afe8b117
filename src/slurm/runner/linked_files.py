"""Linked files: files that a client has sent, under their names in the directory of a program, read-only."""

from __future__ import annotations

import os
import stat

from slurm.protocol import BLOBS
from slurm.protocol.digests import file_digest
from slurm.protocol.directories import make_private
from slurm.protocol.files import is_private
from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

SEALED_TIME = 315532800
"""The modification time of a blob whose digest was checked: 1980-01-01. A change of the blob also changes the time."""
_MODES = {False: 0o444, True: 0o555}


class LinkedFile(Record):
    """A file that a client has sent."""

    name: str
    """The path of the file in the directory of the program."""
    sha256: str
    bytes: int
    executable: bool = False

    @property
    def blob(self) -> str:
        """The name of its blob, the file in `blobs/` with the content."""
        return f"{self.sha256}-{'program' if self.executable else 'file'}"


def link_files(root: str, files: Iterable[LinkedFile], directory: str) -> None:
    """Link files into a directory. Raises OSError, UntrustedFile, and ValueError for a blob that has changed."""
    for file in files:
        target = f"{directory}/{file.name}"
        make_private(os.path.dirname(target))
        blob = checked_blob(root, file)
        try:
            os.link(blob, target)
        except FileExistsError:
            raise
        except OSError:  # another file system, or one without hard links, or too many links
            _copy(blob, target, _MODES[file.executable])


def checked_blob(root: str, file: LinkedFile) -> str:
    """Check that a blob contains what the client has sent, make it read-only, and return its path.

    Raises OSError, UntrustedFile, and ValueError for a blob that has changed.
    """
    path = f"{root}/{BLOBS}/{file.blob}"
    status = os.stat(path)
    if not is_private(os.stat(f"{root}/{BLOBS}")) or not is_private(status):
        from slurm.errors import UntrustedFile  # noqa: PLC0415 - imports concurrent.futures

        raise UntrustedFile(path, uid=status.st_uid, mode=status.st_mode, me=os.geteuid())
    mode = _MODES[file.executable]
    sealed = stat.S_IMODE(status.st_mode) == mode and int(status.st_mtime) == SEALED_TIME
    if sealed and status.st_size == file.bytes:
        return path
    if file_digest(path) != (file.bytes, file.sha256):
        os.unlink(path)  # so that the next submission sends it again
        raise ValueError(
            f"the copy of {file.name} on the cluster is not the file that was sent: a program has changed {path} in "
            "place, or the file was changed while it was sent. Submit the call again"
        )
    os.chmod(path, mode)
    os.utime(path, (SEALED_TIME, SEALED_TIME))
    return path


def _copy(source: str, target: str, mode: int) -> None:
    with open(source, "rb") as data, open(target, "xb") as file:
        while block := data.read(1 << 20):
            file.write(block)
    os.chmod(target, mode)
