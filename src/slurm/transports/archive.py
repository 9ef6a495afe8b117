"""Files on their way to and from another machine: tar archives, which flow."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from typing import IO, TYPE_CHECKING

from slurm.errors import TransportError
from slurm.transports.base import Fetched, opened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from slurm.transports.base import Content

IN_MEMORY = 1 << 23
"""Bytes that are kept in memory; what is more goes to a temporary file."""
_BLOCK = 1 << 18


def pack(files: Mapping[str, Content], stream: IO[bytes]) -> None:
    """Write an archive of files. Raises TransportError for one of this machine that can't be read."""
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        for name, data in files.items():
            with io.BytesIO(data) if isinstance(data, bytes) else opened(data) as source:
                member = tarfile.TarInfo(name)
                member.size, member.mode = source.seek(0, os.SEEK_END), 0o600
                source.seek(0)
                archive.addfile(member, source)


class Spool:
    """What came out of archives: in memory while it is little, then in a file without a name, which goes with it."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed at the end of `with`
        self.found: list[Fetched] = []
        """The files by the paths that were asked for, in the order in which they came."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def fill(self, stream: IO[bytes]) -> None:
        """Take what flows, in place of what was there; each file is as long as its header says, or that's an error.

        What is left after a break is an error of the stream's end, which is found before this is believed.
        """
        self.found.clear()
        self._file.seek(0)
        self._file.truncate()
        with tarfile.open(fileobj=stream, mode="r|", ignore_zeros=True) as archives:
            for member in archives:
                if file := archives.extractfile(member):
                    self._add(member.name.removeprefix("."), file)
        stream.read()

    def _add(self, path: str, file: IO[bytes]) -> None:
        begin = self._file.tell()
        while block := file.read(_BLOCK):
            try:
                self._file.write(block)
            except OSError as error:
                message = f"{tempfile.gettempdir()} can't hold what comes ({error.strerror}); name another in TMPDIR"
                raise TransportError(message) from error
        self.found.append(Fetched(path, self._file, begin, self._file.tell() - begin))
