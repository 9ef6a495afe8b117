"""LocalTransport: runs commands and copies files on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

from slurm.errors import TransportError, UntrustedFile
from slurm.protocol import freshness
from slurm.protocol.directories import make_private
from slurm.protocol.files import open_own, replace
from slurm.tracebacks import about_the_caller
from slurm.transports.base import Completed, Fetched, ListingFailed, Transport, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import IO

    from slurm.transports.base import Content
    from slurm.transports.stream import Stream
    from slurm.url import ClusterURL

_NOT_FOUND = 127  # as in a shell


class LocalTransport(Transport):
    """Commands and files of this machine."""

    pace, shares_files, streams = 0.01, True, True

    @classmethod
    def from_url(cls, url: ClusterURL, *, login_shell: bool = False) -> LocalTransport:
        """Return the transport of a URL that names none, such as `local` or `slurm:///scratch/ann`.

        Commands inherit this program's environment, so no login shell is involved.
        """
        del url, login_shell
        return cls()

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
        """Run a command on this machine."""
        try:
            status, output, errors = _run(argv, stdin, timeout)
        except subprocess.TimeoutExpired as error:
            raise TransportError(f"{argv[0]} did not end within {timeout} s") from error
        except OSError as error:
            # If a directory on PATH is not searchable, the error is EACCES even if no other directory has the command.
            if shutil.which(argv[0]) is None:
                return Completed(tuple(argv), _NOT_FOUND, "", f"{argv[0]}: command not found")
            raise TransportError(f"{argv[0]} cannot be run: {error}") from error
        return Completed(tuple(argv), status, _text(output), _text(errors))

    def attached(self, argv: Sequence[str], *, terminal: bool) -> Sequence[str]:
        """Return the command itself."""
        del terminal
        return argv

    def stream(self, argv: Sequence[str]) -> Stream:
        """Start a command on this machine."""
        from slurm.transports.stream import local_stream  # noqa: PLC0415 - nodes do not have it

        try:
            return local_stream(argv)
        except OSError as error:
            raise TransportError(f"{argv[0]} cannot be run: {error}") from error

    def put(self, directory: str, files: Mapping[str, Content], *, directories: Iterable[str] = ()) -> None:
        """Create a directory with files."""
        try:
            for name in ("", *directories):
                make_private(os.path.join(directory, name))
            for name, data in files.items():
                if isinstance(data, bytes):
                    replace(os.path.join(directory, name), data)
                else:
                    with opened(data) as source:
                        replace(os.path.join(directory, name), source)
        except OSError as error:
            message = f"{error.filename or directory} cannot be written: {error.strerror or error}"
            raise about_the_caller(TransportError(message)) from None

    def fetch(self, paths: Sequence[str], *, private: bool = False) -> Iterator[Fetched]:
        """Open files."""
        listed: dict[str, frozenset[str]] = {}
        for path in paths:
            try:
                file = freshness.retry_absent(open_own if private else _opened, path, listed)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                yield Fetched.failed(path, TransportError(f"{path} cannot be read: {error.strerror or error}"))
            except UntrustedFile as error:
                yield Fetched.failed(path, error)
            else:
                with file:
                    yield Fetched(path, file, 0, os.fstat(file.fileno()).st_size)

    def list(self, directories: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """List directories."""
        found: dict[str, Sequence[str]] = {}
        failed: dict[str, TransportError] = {}
        for directory in directories:
            try:
                found[directory] = _names(directory)
            except TransportError as error:
                failed[directory] = error
        if failed:
            raise ListingFailed("; ".join(map(str, failed.values())), found, failed)
        return found

    def caches(self, directory: str) -> bool:
        """Whether the directory is on a file system that caches."""
        return freshness.caches(directory)

    def distrust(self, directory: str) -> None:
        """Bypass the caches of a directory's file system from now on."""
        freshness.distrust(directory)

    def close(self) -> None:
        """Do nothing: no connection is held."""


def _run(argv: Sequence[str], stdin: bytes, timeout: float | None) -> tuple[int, bytes, bytes]:
    """Run a command in its own session. On a time-out, kill the whole session: a shell's children keep pipes open."""
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        try:
            output, errors = process.communicate(stdin, timeout)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output, errors


def _opened(path: str) -> IO[bytes]:
    return open(path, "rb")


def _names(directory: str) -> Sequence[str]:
    try:
        return freshness.list_names(directory)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise TransportError(f"{directory} cannot be listed: {error.strerror or error}") from error


def _text(output: bytes) -> str:
    return output.decode(errors="replace")
