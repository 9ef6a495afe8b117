"""Work files: lists the files that calls have left in their directories, and computes their digests on the cluster."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import ConnectionLost, ProtocolError, TransportError
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slurm.transports.base import Completed, Transport

_TRIES = 3
"""How often a command is started if the connection breaks meanwhile. Both commands only read."""
_GONE = ("No such file or directory", "slurm-tasks-caches yes", "slurm-tasks-caches no")
"""Ends of messages that are not errors: a file was removed while it was listed; the answer of fresh.sh."""
_ESCAPES = {rb"\n": b"\n", rb"\r": b"\r", rb"\\": b"\\"}


class WorkFile(NamedTuple):
    """A file that a call has left in its output directory."""

    name: str
    """Its path relative to that directory."""
    size: int
    """In bytes."""
    path: str
    """Its path on the cluster; of a link, the path of the file that it leads to."""
    identity: str
    """The same for all hard links to one file."""


class Listing(NamedTuple):
    """The files below one directory."""

    files: Sequence[WorkFile]
    """In the order of their names."""
    outside: Mapping[str, str]
    """Links that lead out of the directory, by name, and their targets. They are never followed."""
    directories: Mapping[str, str]
    """Links to directories below it, by name, and the names of those directories."""


def list_files(transport: Transport, directories: Sequence[str]) -> list[Listing]:
    """List the files below each directory by one command; none for a directory that does not exist.

    Raises TransportError if a directory cannot be read, ProtocolError for a name that leads out of it.
    """
    if not directories:
        return []
    argv = ["sh", "-c", program(__name__, "work_files.sh"), "sh", program(__name__, "work_entries.sh")]
    done = _run(transport, argv, directories)
    texts = os.fsdecode(_bytes(done)).split("\0")
    errors = [line for line in done.stderr.splitlines() if not line.endswith(_GONE)]
    if len(texts) < 2 or not texts[-2].startswith("end ") or errors:
        raise TransportError(f"files of jobs cannot be listed: {'; '.join(errors) or done.words}")
    found = {directory: _Collector(directory) for directory in directories}
    entries = iter(texts[:-2])
    for entry in entries:
        kind, _, rest = entry.partition(" ")
        size, identity, path = rest.split(" ", 2) if kind == "f" else ("0", next(entries), rest)
        directory, _, name = path.rpartition("/./")
        if directory not in found:
            raise ProtocolError(f"the answer to a listing of files has another directory: {path}")
        found[directory].add(kind, name, size, identity)
    return [found[directory].listing() for directory in directories]


class _Collector:
    """Collects the entries of one directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._files: dict[str, WorkFile] = {}
        self._links: dict[str, str] = {}
        self._outside: dict[str, str] = {}
        self._directories: dict[str, str] = {}

    def add(self, kind: str, name: str, size: str, text: str) -> None:
        """Add an entry of work_entries.sh; `text` is a file's identity, or a link's target."""
        check_name(name)
        if kind == "f":
            self._files[name] = WorkFile(name, int(size), f"{self._directory}/{name}", text)
        else:
            links = {"l": self._links, "d": self._directories, "o": self._outside}[kind]
            links[name] = text if kind == "o" else text.removeprefix("/")

    def listing(self) -> Listing:
        """Return all entries; a link is a file if its target is one of the files."""
        for name, target in self._links.items():
            if target in self._files:
                self._files[name] = self._files[target]._replace(name=name)
        return Listing(sorted(self._files.values()), self._outside, self._directories)


def check_name(name: str) -> None:
    """Raise ProtocolError for a name that may lead out of the directory that it is appended to."""
    if not name or name.startswith("/") or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise ProtocolError(f"{name!r} is not a path below a job's directory, so the file is refused")


def digests(transport: Transport, paths: Sequence[str]) -> dict[str, str]:
    """Compute the SHA-256 of files there, by path, with one command. Raises TransportError for an unreadable file."""
    if not paths:
        return {}
    done = _run(transport, ["sh", "-c", program(__name__, "digests.sh")], paths)
    found = {os.fsdecode(path): digest for digest, path in _digest_lines(_bytes(done))}
    missing = [path for path in paths if path not in found]
    if missing:
        raise TransportError(
            f"{missing[0]} cannot be read: {done.stderr.strip() or 'its SHA-256 cannot be computed there'}"
        )
    return found


def _digest_lines(data: bytes) -> Iterator[tuple[str, bytes]]:
    for line in filter(None, data.split(b"\n")):
        digest, _, path = line.partition(b"  ")
        if digest.startswith(b"\\"):  # sha256sum marks a line whose path it has escaped
            path = re.sub(rb"\\.", lambda found: _ESCAPES.get(found[0], found[0]), path)
        yield digest.lstrip(b"\\").decode(errors="replace"), path


def _run(transport: Transport, argv: Sequence[str], paths: Sequence[str]) -> Completed:
    """Run a command that reads paths; run it again if the connection breaks."""
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    for left in reversed(range(_TRIES)):
        try:
            return transport.run(argv, stdin=names)
        except ConnectionLost:
            if not left:
                raise
    raise AssertionError


def _bytes(done: Completed) -> bytes:
    try:
        return bytes.fromhex(done.stdout)
    except ValueError:
        raise TransportError(f"files of jobs cannot be listed: {done.words[-500:]}") from None
