"""Archives: streams files to and from another machine as tar archives."""

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
"""Bytes to keep in memory; larger contents go to a temporary file."""
_BLOCK = 1 << 18


def pack(files: Mapping[str, Content], stream: IO[bytes]) -> None:
    """Write an archive of files. Raises TransportError for a local file that cannot be read."""
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        for name, data in files.items():
            with io.BytesIO(data) if isinstance(data, bytes) else opened(data) as source:
                member = tarfile.TarInfo(name)
                member.size, member.mode = source.seek(0, os.SEEK_END), 0o600
                source.seek(0)
                archive.addfile(member, source)


class Spool:
    """The contents of received archives: in memory while they are small, then in an unnamed temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed at the end of `with`
        self.found: list[Fetched] = []
        """The received files by the requested paths, in order of arrival."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def fill(self, stream: IO[bytes]) -> None:
        """Read archives from a stream, and replace earlier contents. A file shorter than its header says is an error.

        A stream that was cut off between two files looks complete here, so the caller checks the end of the stream.
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
                directory = tempfile.gettempdir()
                raise TransportError(
                    f"{directory} cannot hold the received files ({error.strerror}): set TMPDIR to another one"
                ) from error
        self.found.append(Fetched(path, self._file, begin, self._file.tell() - begin))
