"""RemoteTransport: base class of the transports to other machines. Each method runs one command."""

from __future__ import annotations

import logging
import os
import re
import shlex
import threading
import time
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, TypeVar

from slurm.errors import ConnectionLost, TransportError
from slurm.protocol.ownership import untrusted_files
from slurm.protocol.shell import program
from slurm.transports.archive import Spool, pack
from slurm.transports.base import Completed, Fetched, ListingFailed, Transport, pauses
from slurm.transports.channel import LINE, StartupFailed, converse
from slurm.transports.ssh_advice import UNREACHED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from typing_extensions import Self

    from slurm.transports.base import Content
    from slurm.transports.channel import Answer, Channel
    from slurm.transports.stream import Stream
    from slurm.url import ClusterURL

T = TypeVar("T")

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 600.0
"""Seconds to retry after a lost connection."""
_PAUSES = (0.5, 15.0)
_MAX_COMMANDS = 8
"""Concurrent commands on one connection. The default of sshd's MaxSessions is 10."""

STATUS_SECONDS = 5.0
"""Seconds to wait for the exit status of a command whose output has ended."""
NOT_SENT = "slurm-tasks: there was no connection to send the command over"
"""Part of the error message if a command certainly did not start, so that any command may be retried."""

_ESCAPED = re.compile(rb"\\([0-7]{3}|.)")
"""How tar(1) and find(1) escape quotes and non-ASCII bytes of a path in their messages."""

_CACHES = "slurm-tasks-caches "
"""The beginning of the answer of fresh.sh whether a file system caches."""

_HARMLESS = (
    "No such file or directory",  # it was removed after it was listed
    "file changed as we read it",  # a log grows
    "File removed before we read it",
    "Exiting with failure status due to previous errors",
)
"""Ends of messages about files that change while they are read; they are ignored."""


class RemoteTransport(Transport, ABC):
    """Runs commands on another machine, which needs `sh`, `tar`, `find`, `xargs` and `sync` only.

    After a lost connection, put, fetch and list start over on a new connection, for up to ten minutes. `run` does not,
    because the command may have taken effect: it raises ConnectionLost, and the next call waits for a connection. If
    the first connection fails, an error is raised at once.
    """

    pace, streams = 0.2, True
    alive_seconds = 10
    """Seconds between keep-alive messages. A connection is lost after three without an answer."""
    connect_seconds = 15
    """Seconds for a host to accept a connection."""

    def __init__(self, url: ClusterURL, *, login_shell: bool = False) -> None:
        self.url = url
        self._login_shell = login_shell
        self.host = url.host or "localhost"
        self._reached = False
        self._known = ""
        """Whether to bypass caches of the file system there: `yes`, `no`, or empty as long as it is unknown."""
        self.after_fork()

    def after_fork(self) -> None:
        """Reset the locks: in the child, no command runs and no thread connects."""
        self._opening = threading.Lock()
        self._slots = threading.BoundedSemaphore(_MAX_COMMANDS)

    @classmethod
    def from_url(cls, url: ClusterURL, *, login_shell: bool = False) -> Self:
        """Return the transport to a URL's host. With `login_shell`, commands run in a login shell."""
        return cls(url, login_shell=login_shell)

    @abstractmethod
    def _alive(self) -> bool:
        """Whether there is a connection, as far as this machine knows."""

    @abstractmethod
    def _connect(self) -> None:
        """Connect. Raises ConnectionLost if a retry may help, else TransportError."""

    @abstractmethod
    def _start(self, line: str) -> Channel:
        """Start a command line, which the user's login shell parses. Raises ConnectionLost."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; a later call opens a new one."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
        """Run a command."""
        try:
            answer = self._command(shlex.join(argv), lambda stream: stream.write(stdin), _all, timeout=timeout)
        except TimeoutError as error:
            raise TransportError(f"{argv[0]} did not end within {timeout} s on {self.host}") from error
        except ConnectionLost as error:
            if UNREACHED in str(error):  # no command was sent
                raise
            raise ConnectionLost(f"{error}; the command was: {_short(argv)}") from error
        return Completed(tuple(argv), answer.status, answer.value.decode(errors="replace"), answer.words)

    def stream(self, argv: Sequence[str]) -> Stream:
        """Start a command that exchanges bytes with this process."""
        from slurm.transports.stream import begin  # noqa: PLC0415 - nodes do not have it

        with self._slots:
            self._ensure_connected()
            channel = self._start(LINE)
        try:
            stream = begin(channel, shlex.join(argv), login_shell=self._login_shell)
        except ConnectionLost as error:
            raise ConnectionLost(f"the connection to {self.host} broke: {str(error) or 'it was closed'}") from error
        self._reached = True
        return stream

    def put(self, directory: str, files: Mapping[str, Content], *, directories: Iterable[str] = ()) -> None:
        """Send files as one archive, unpack it in a hidden directory, then rename each file to its final path."""
        hidden = f".put-{os.urandom(6).hex()}"  # put.sh adds its process id: an earlier attempt may still run
        wanted = (f"{directory}/{name}" for name in directories)
        names: dict[str, list[str]] = {}
        for name in files:
            names.setdefault(f"./{os.path.dirname(name)}", []).append(name)
        moves = (f"place {shlex.join([target, *group])}" for target, group in names.items())
        script = "\n".join([_program("put.sh", hidden, directory, *wanted), *moves])
        answer = self._retried_command(script, lambda stream: pack(files, stream), _all)
        if answer.status != 0:
            raise TransportError(f"{directory} cannot be written on {self.host}: {answer.words.strip()}")

    def fetch(self, paths: Sequence[str], *, private: bool = False) -> Iterator[Fetched]:
        """Fetch files in one stream. With `private`, first check their owners and modes on the other machine."""
        send = program(__name__, "send_private.sh" if private else "send.sh")
        script = _program("fetch.sh", send, self._known, _fresh())
        requested = _terminated(f".{path}" for path in dict.fromkeys(paths))
        with Spool() as spool:
            answer = self._retried_command(script, lambda stream: stream.write(requested), spool.fill)
            untrusted = {error.path: error for error in untrusted_files(answer.words)}
            failed = self._failed(answer, "read", set(paths))
            for file in spool.found:
                error = untrusted.get(os.path.dirname(file.path)) or untrusted.get(file.path)
                if error:
                    yield Fetched.failed(file.path, error)
                elif file.path not in failed:  # tar pads a file that it could not read with zeros
                    yield file
            yield from (Fetched.failed(path, error) for path, error in failed.items())

    def list(self, directories: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """List all directories by one command."""
        found: dict[str, list[str]] = {directory: [] for directory in directories}
        answer = self._retried_command(
            _program("list.sh", self._known, _fresh()), lambda stream: stream.write(_terminated(found)), _all
        )
        failed = self._failed(answer, "listed", set(directories))
        for path in os.fsdecode(answer.value).split("\0")[:-1]:
            directory, _, name = path.rpartition("/./")
            found[directory].append(name)
        if failed:
            listed = {directory: names for directory, names in found.items() if directory not in failed}
            raise ListingFailed("; ".join(map(str, failed.values())), listed, failed)
        return found

    def caches(self, directory: str) -> bool:
        """Whether the file system there caches, according to the first listing. All of a root is on one file system."""
        del directory
        return self._known == "yes"

    def distrust(self, directory: str) -> None:
        """Bypass the caches there from now on."""
        del directory
        self._known = "yes"

    def _failed(self, answer: Answer[T], done: str, paths: AbstractSet[str]) -> dict[str, TransportError]:
        """Return an error for each of `paths` that standard error names. Raises TransportError for other failures."""
        failed: dict[str, TransportError] = {}
        other = []
        for line in answer.words.splitlines():
            if line.startswith(_CACHES):
                self._known = line.removeprefix(_CACHES)
            elif line and not line.endswith(_HARMLESS) and not line.startswith("untrusted "):
                path = path_in(line, paths)
                if path is None:
                    other.append(line)
                else:
                    failed[path] = TransportError(f"{path} cannot be {done} on {self.host}: {line}")
        if answer.status != 0 and other:
            raise TransportError(f"files cannot be {done} on {self.host}: {'; '.join(other)}")
        return failed

    def _retried_command(
        self, script: str, send: Callable[[IO[bytes]], object], read: Callable[[IO[bytes]], T]
    ) -> Answer[T]:
        """Run a repeatable command; start it again if the connection is lost."""
        end = time.monotonic() + _RETRY_SECONDS
        for pause in pauses(*_PAUSES):
            try:
                return self._command(script, send, read)
            except ConnectionLost as error:
                if not self._reached or time.monotonic() > end:
                    raise
                _log.warning("%s; trying again", error)
            time.sleep(pause)
        raise AssertionError

    def _command(
        self,
        script: str,
        send: Callable[[IO[bytes]], object],
        read: Callable[[IO[bytes]], T],
        *,
        timeout: float | None = None,
    ) -> Answer[T]:
        end = time.monotonic() + _RETRY_SECONDS
        for pause in pauses(*_PAUSES):
            try:
                with self._slots:
                    self._ensure_connected()
                    return self._attempt(script, send, read, timeout)
            except ConnectionLost as error:
                if NOT_SENT not in str(error) or time.monotonic() > end:
                    raise
            time.sleep(pause)
        raise AssertionError

    def _attempt(
        self,
        script: str,
        send: Callable[[IO[bytes]], object],
        read: Callable[[IO[bytes]], T],
        timeout: float | None,
    ) -> Answer[T]:
        channel = self._start(LINE)
        try:
            answer = converse(channel, script, login_shell=self._login_shell, send=send, read=read, timeout=timeout)
        except ConnectionLost as error:
            raise ConnectionLost(f"the connection to {self.host} broke: {str(error) or 'it was closed'}") from error
        except StartupFailed as error:
            raise StartupFailed(f"{self.host} runs no commands: {error}") from None
        finally:
            channel.close()
        self._reached = True
        return answer

    def _ensure_connected(self) -> None:
        """Connect if necessary. No command has been sent yet, so a lost connection is retried."""
        with self._opening:
            end = time.monotonic() + _RETRY_SECONDS
            for pause in pauses(*_PAUSES):
                if self._alive():
                    return
                try:
                    self._connect()
                except ConnectionLost as error:
                    if not self._reached or time.monotonic() > end:
                        raise
                    _log.warning("%s; trying again in %.1f s", error, pause)
                    time.sleep(pause)
                else:
                    return


def path_in(line: str, paths: Iterable[str]) -> str | None:
    """Return the path that a message of tar(1) or find(1) names, if it is one of `paths`."""
    plain = _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]) if found[1].isdigit() else found[1], os.fsencode(line))
    return max((path for path in paths if path in line or path in os.fsdecode(plain)), key=len, default=None)


def _program(name: str, *arguments: str) -> str:
    """Join a program and its arguments into one script. `converse` sends it as input, so its length is not limited."""
    return f"set -- {shlex.join(arguments)}\n{program(__name__, name)}"


def _fresh() -> str:
    return program(__name__, "fresh.sh")


def _all(stream: IO[bytes]) -> bytes:
    return stream.read()


def _terminated(paths: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(path) + b"\0" for path in paths)


def _short(argv: Sequence[str]) -> str:
    text = shlex.join(argv)
    return text if len(text) <= 200 else f"{text[:200]}…"
