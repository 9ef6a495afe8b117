"""The transport seam."""

from __future__ import annotations

import io
import time
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from slurm.errors import ProtocolError, TransportError
from slurm.sanitize.redaction import redacted
from slurm.sanitize.terminal import for_terminal

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Self

    from slurm.errors import SlurmError

    Content = bytes | str | os.PathLike[str]


RETRIES = (0.3, 1.5)
"""Seconds before a file that couldn't be read is tried again."""


class Completed(NamedTuple):
    """A command that has ended: its exit status and what it printed."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def words(self) -> str:
        """What it printed, the errors first, for a message: without passwords and control characters."""
        printed = "\n".join(text for text in (self.stderr.strip(), self.stdout.strip()) if text)
        return redacted(for_terminal(printed)) or f"exit {self.status}"


class Fetched(NamedTuple):
    """A file of there: its `size` bytes are in a local file, `begin` on, and until the next one is asked for.

    One that can't be read, or that somebody else could have written, has an `error` instead of bytes.
    """

    path: str
    file: IO[bytes]
    begin: int
    size: int
    error: SlurmError | None = None

    @classmethod
    def failed(cls, path: str, error: SlurmError) -> Self:
        """A file that can't be read, or must not be."""
        return cls(path, io.BytesIO(), 0, 0, error)

    def blocks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """All of it, in blocks of at most `size` bytes. Raises its error, if it has one."""
        if self.error is not None:
            raise self.error
        end = self.begin + self.size
        try:
            self.file.seek(self.begin)
            for at in range(self.begin, end, size):
                yield self.file.read(min(size, end - at))
        except OSError as error:
            message = f"{self.path} can't be read: {error.strerror or error}"
            raise TransportError(message) from error


class ListingFailed(TransportError):
    """Some directories can't be listed: `failed` tells why each; `found` has the names in the others."""

    def __init__(self, message: str, found: Mapping[str, Sequence[str]], failed: Mapping[str, TransportError]) -> None:
        super().__init__(message)
        self.found, self.failed = found, failed


def opened(path: str | os.PathLike[str]) -> IO[bytes]:
    """A file of this machine, to be sent. Raises TransportError."""
    try:
        return open(path, "rb")
    except OSError as error:
        message = f"{path} can't be read: {error.strerror or error}"
        raise TransportError(message) from error


class Transport(Protocol):
    """A place where commands run and files lie. Constructors do no I/O; paths are absolute, with `/`.

    Everything raises TransportError if the place can't be reached or the file system refuses.
    """

    pace: float
    """Seconds between two looks at the files there, at the quickest."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
        """Run a command to its end, whatever its exit status. A command that isn't there has status 127."""

    def put(self, directory: str, files: Mapping[str, Content], *, directories: Iterable[str] = ()) -> None:
        """Make a directory (0700, with its parents) with files (0600) and directories in it.

        A file is given by its bytes, or by the path of one of this machine, which flows and takes no memory.
        Names may be paths below it; the directory of a file is itself, or one of `directories`.
        Each file appears whole: a reader never sees half of it.
        """

    def fetch(self, paths: Sequence[str], *, private: bool = False) -> Iterator[Fetched]:
        """Files, in the order of `paths`, each whole; those that aren't there are left out. Large ones take no memory.

        A file that can't be read has a TransportError as its `error`; with `private`, one that somebody else could
        have written has an UntrustedFile.
        """

    def get(self, paths: Sequence[str], *, private: bool = False) -> Mapping[str, bytes]:
        """The bytes of files, which are small. Raises the error of the first that has one."""
        return {found.path: b"".join(found.blocks()) for found in self.fetch(paths, private=private)}

    def get_each(self, paths: Sequence[str], *, private: bool = False) -> dict[str, bytes | SlurmError]:
        """The bytes of files, which are small, or the error of those that have one.

        A file system may fail for a moment: what can't be read is tried twice more, within two seconds.
        """
        found: dict[str, bytes | SlurmError] = {}
        for pause in (*RETRIES, None):
            for file in self.fetch(paths, private=private):
                try:
                    found[file.path] = b"".join(file.blocks())
                except (TransportError, ProtocolError) as error:
                    found[file.path] = error
            paths = [path for path in paths if isinstance(found.get(path), TransportError)]
            if pause is None or not paths:
                return found
            time.sleep(pause)
        raise AssertionError

    def list(self, directories: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The names in each directory, in no order; none for a directory that isn't there.

        Raises ListingFailed if only some of them can be listed.
        """

    def close(self) -> None:
        """Let go of what is held; a later call takes it up again."""

    def after_fork(self) -> None:
        """Be of use in the child of a fork, where no other thread is: locks that one held are nobody's now."""
        return
