"""Transport: the interface of all transports, and the values that they return."""

from __future__ import annotations

import io
import os
import shlex
import time
from random import SystemRandom
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from slurm.errors import ProtocolError, TransportError
from slurm.sanitize.redaction import redacted
from slurm.sanitize.terminal import for_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Self

    from slurm.errors import SlurmError
    from slurm.transports.stream import Stream

    Content = bytes | str | os.PathLike[str]


class Completed(NamedTuple):
    """A finished command: its exit status and its output."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def words(self) -> str:
        """The output for a message, errors first, without passwords and control characters."""
        printed = "\n".join(text for text in (self.stderr.strip(), self.stdout.strip()) if text)
        return redacted(for_terminal(printed)) or f"exit {self.status}"


class Fetched(NamedTuple):
    """A fetched file: `size` bytes of a local file, from `begin`. They are valid until the next file is requested.

    A file that cannot be read, or that another user could have written, has an `error` instead.
    """

    path: str
    file: IO[bytes]
    begin: int
    size: int
    error: SlurmError | None = None

    @classmethod
    def failed(cls, path: str, error: SlurmError) -> Self:
        """Return a file that has an error instead of bytes."""
        return cls(path, io.BytesIO(), 0, 0, error)

    def blocks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """Yield the bytes in blocks of at most `size`. Raises the error, if there is one."""
        if self.error is not None:
            raise self.error
        end = self.begin + self.size
        try:
            self.file.seek(self.begin)
            for at in range(self.begin, end, size):
                yield self.file.read(min(size, end - at))
        except OSError as error:
            raise TransportError(f"{self.path} cannot be read: {error.strerror or error}") from error


class ListingFailed(TransportError):
    """Some directories cannot be listed. `failed` has an error for each of them, `found` the names in the others."""

    def __init__(self, message: str, found: Mapping[str, Sequence[str]], failed: Mapping[str, TransportError]) -> None:
        super().__init__(message)
        self.found, self.failed = found, failed


def opened(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a local file to send. Raises TransportError."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise TransportError(f"{path} cannot be read: {error.strerror or error}") from error


class Transport(Protocol):
    """Runs commands and copies files on one machine. Constructors do no I/O; paths are absolute, with `/`.

    Every method raises TransportError if the machine cannot be reached or a file operation fails there.
    """

    pace: float
    """The shortest time in seconds between two listings of files."""
    shares_files: bool = False
    """Whether this process sees the files there under the same paths."""
    streams: bool = False
    """Whether commands that exchange bytes with this process while it continues can run there."""
    read_pauses: tuple[float, ...] = (0.3, 1.5)
    """Seconds to wait before each new attempt to read a file."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
        """Run a command and wait for its end. A missing command has status 127."""

    def run_together(self, commands: Sequence[Sequence[str]], *, timeout: float) -> list[Completed]:
        """Run commands in order, without input, in one round trip. All run, even if some fail."""
        fence = f"--{os.urandom(12).hex()}"
        mark = rf"printf '%s %s\n' {fence} $?; printf '%s\n' {fence} >&2"
        script = "\n".join(f"({shlex.join(argv)}) < /dev/null; {mark}" for argv in commands)
        done = self.run(["sh", "-s"], stdin=script.encode(), timeout=timeout)
        outputs, errors = done.stdout.split(f"{fence} "), done.stderr.split(f"{fence}\n")
        if len(outputs) <= len(commands) or len(errors) <= len(commands):
            raise TransportError(f"the commands were cut off before the last one finished: {done.words}")
        found: list[Completed] = []
        for argv, error, output, after in zip(commands, errors, outputs, outputs[1:], strict=False):
            text = output.partition("\n")[2] if found else output  # it begins with the status of the previous command
            found.append(Completed(tuple(argv), int(after.partition("\n")[0]), text, error))
        return found

    def stream(self, argv: Sequence[str]) -> Stream:
        """Start a command that exchanges bytes with this process. Raises ConnectionLost if a retry may help."""
        del argv
        raise TransportError(f"{type(self).__name__} runs no commands that go on beside this process")

    def put(self, directory: str, files: Mapping[str, Content], *, directories: Iterable[str] = ()) -> None:
        """Make a directory (0700, with its parents) with files (0600) and directories in it.

        The content of a file is its bytes, or the path of a local file, which is streamed.
        Names may be paths below `directory`; a file's directory must be `directory` or one of `directories`.
        Files appear atomically: a reader never sees part of one.
        """

    def fetch(self, paths: Sequence[str], *, private: bool = False) -> Iterator[Fetched]:
        """Fetch files in the order of `paths`, streamed; files that do not exist are left out.

        A file that cannot be read has a TransportError as its `error`. With `private`, a file that another user could
        have written has an UntrustedFile.
        """

    def get(self, paths: Sequence[str], *, private: bool = False) -> Mapping[str, bytes]:
        """Read small files. Raises the first error."""
        return {found.path: b"".join(found.blocks()) for found in self.fetch(paths, private=private)}

    def get_each(self, paths: Sequence[str], *, private: bool = False) -> dict[str, bytes | SlurmError]:
        """Read small files, and return the bytes of each, or its error.

        A file that cannot be read is tried twice more within two seconds, because shared file systems have short
        failures.
        """
        found: dict[str, bytes | SlurmError] = {}
        if not paths:
            return found
        for pause in (*self.read_pauses, None):
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
        """List the names in each directory, unordered; none for a directory that does not exist.

        Raises ListingFailed if some directories cannot be listed.
        """

    def caches(self, directory: str) -> bool:
        """Whether files that other machines write may appear late in a directory there, as far as is known."""
        del directory
        return False

    def distrust(self, directory: str) -> None:
        """Bypass the caches of a directory's file system from now on, because a listing of the directory was late."""
        del directory

    def attached(self, argv: Sequence[str], *, terminal: bool) -> Sequence[str]:
        """Return a command for this machine that runs `argv` there with the streams of this process.

        With `terminal`, `argv` has a terminal there. Empty if the transport does not support this.
        """
        del argv, terminal
        return ()

    def close(self) -> None:
        """Release connections; a later call opens them again."""

    def after_fork(self) -> None:
        """Replace locks in the child of a fork: a thread that exists only in the parent may hold them."""
        return


def pauses(first: float, most: float, *, factor: float = 2.0) -> Iterator[float]:
    """Yield the seconds to sleep between retries: `first`, then each `factor` times the one before, up to `most`.

    The seconds vary by 20 %, so that clients that failed at the same moment do not retry at the same moment.
    """
    while True:
        varied = first * SystemRandom().uniform(0.8, 1.2)  # the state of `random` belongs to the user's program
        yield min(varied, most)
        first = min(factor * first, most)
