"""Uploads: the files of this machine that a submission needs, each sent once and named by its digest."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import subprocess
import time
from glob import glob
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import SubmissionError
from slurm.protocol import BLOBS
from slurm.runner.linked_files import LinkedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from slurm.serialization.pickling import Reference
    from slurm.transports.base import Content, Transport

_log = logging.getLogger(__name__)

_IN_MEMORY = 1 << 20
"""The size of files, in bytes, up to which the bytes that were hashed are kept and sent."""
_SETTLED_SECONDS = 2.0
"""A file that was changed more recently may change again within the resolution of its time, so its hash is not kept."""
_LISTING_SECONDS = 1800.0
"""Less than the time between the mark and the removal of an unused blob, in `remove_blobs.sh`."""
_UNUSED = ".unused"
_NEVER = (".git", "__pycache__")


class _Known(NamedTuple):
    """What identifies an unchanged file."""

    size: int
    mtime: int
    inode: int


_digests: dict[str, tuple[_Known, str]] = {}
"""The SHA-256 of files that this process has hashed, by path."""


def size_of(content: Content) -> int:
    """Return the number of bytes of a file to send."""
    return len(content) if isinstance(content, bytes) else os.path.getsize(content)


class BlobStore:
    """The blobs under one root. Remembers which blobs exist."""

    def __init__(self, transport: Transport, root: Callable[[], str]) -> None:
        self._transport, self._root = transport, root
        self._there: set[str] = set()
        self._listed: float | None = None

    @property
    def directory(self) -> str:
        """The directory of the blobs."""
        return f"{self._root()}/{BLOBS}"

    def has(self, name: str) -> bool:
        """Whether a blob exists, and cleanup has not marked it as unused. Takes one command every half hour."""
        if self._listed is None or time.monotonic() - self._listed > _LISTING_SECONDS:
            self._list()
        return name in self._there and f"{name}{_UNUSED}" not in self._there

    def _list(self) -> None:
        self._listed = time.monotonic()
        self._there = set(self._transport.list([self.directory])[self.directory])

    def missing(self, uploads: Uploads) -> dict[str, Content]:
        """Return the files that do not exist on the cluster."""
        return {name: content for name, content in uploads.contents.items() if not self.has(name)}

    def send(self, *several: Uploads) -> None:
        """Send the files that do not exist there. Raises SubmissionError if something put earlier no longer exists."""
        for name in sorted({name for uploads in several for name in uploads.put_earlier}):
            if not self.has(name) and name not in self._there:
                self._list()  # another process may have sent it
                if name not in self._there:
                    raise SubmissionError(f"what was put as {name} is no longer in {self.directory}: put() it again")
        if missing := {name: content for uploads in several for name, content in self.missing(uploads).items()}:
            self._transport.put(self.directory, missing)
            self._there = {*self._there, *missing} - {f"{name}{_UNUSED}" for name in missing}


class Uploads:
    """The files that one submission needs. `contents` are the files of this machine, by the names of their blobs."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.put_earlier: set[str] = set()
        self.contents: dict[str, Content] = {}
        self._files: dict[str, LinkedFile] = {}

    @property
    def recorded(self) -> tuple[str, ...] | None:
        """The names of all blobs that the submission uses, for its record."""
        return tuple(sorted(self.names)) or None

    def add(self, paths: Mapping[str, str], *, task: str) -> tuple[LinkedFile, ...]:
        """Add files and directories: their paths here, by the names that they get. Raises SubmissionError.

        A path that keeps its name may be a pattern.
        """
        found: dict[str, LinkedFile] = {}
        for name, path in (each for named in paths.items() for each in _matching(*named, task)):
            for each in _files(path, task):
                if each not in self._files:
                    self._files[each] = self._file(each, task)
                named = name if each == path else f"{name}/{os.path.relpath(each, path)}"
                found[named] = self._files[each].replace(name=named)
        return tuple(found.values())

    def without_puts(self, references: Iterable[frozenset[Reference]]) -> list[frozenset[Reference]]:
        """Return the references to jobs in calls; add references to puts to `names`."""
        kept = []
        for of_call in references:
            puts = {reference for reference in of_call if reference.kind == "put"}
            self._name_puts(reference.key for reference in puts)
            kept.append(of_call - puts if puts else of_call)
        return kept

    def _name_puts(self, keys: Iterable[str]) -> None:
        for what, _, sha256 in (key.partition("/") for key in keys):
            self.put_earlier.add(f"{sha256}-file")
            self.names.update((f"{sha256}-file", f"{sha256}-tree") if what == "tree" else (f"{sha256}-file",))

    def add_bytes(self, name: str, content: bytes) -> LinkedFile:
        """Add the content of a file."""
        found = LinkedFile(name=name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        self._need(found, content)
        return found

    def _need(self, file: LinkedFile, content: Content) -> None:
        self.names.add(file.blob)
        self.contents[file.blob] = content

    def _file(self, name: str, task: str) -> LinkedFile:
        try:
            with open(name, "rb") as file:
                status = os.fstat(file.fileno())
                content, digest = _hashed(name, file.fileno(), status)
        except OSError as error:
            raise SubmissionError(f"{task} needs the file {name!r}, which cannot be read: {error}") from error
        found = LinkedFile(
            name=name, sha256=digest, bytes=status.st_size, executable=bool(status.st_mode & stat.S_IXUSR)
        )
        self._need(found, os.path.abspath(name) if content is None else content)
        return found


def _hashed(name: str, descriptor: int, status: os.stat_result) -> tuple[bytes | None, str]:
    """Return the bytes of a file (None for a large one) and its SHA-256. An unchanged large file is not read again."""
    path, known = os.path.realpath(name), _Known(status.st_size, status.st_mtime_ns, status.st_ino)
    if status.st_size <= _IN_MEMORY:
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(_IN_MEMORY + 1)
        return data, hashlib.sha256(data).hexdigest()
    if _digests.get(path, (None, ""))[0] != known:
        digest = hashlib.sha256()
        with open(descriptor, "rb", closefd=False) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        if time.time() - status.st_mtime < _SETTLED_SECONDS:
            return None, digest.hexdigest()
        _digests[path] = known, digest.hexdigest()
    return None, _digests[path][1]


def _matching(name: str, path: str, task: str) -> Iterator[tuple[str, str]]:
    """Yield the files and directories that match a pattern; a path that exists, or has no wildcards, itself."""
    if name != path or os.path.lexists(path) or not any(wildcard in path for wildcard in "*?["):
        yield name, path
        return
    found = sorted(glob(path, recursive=True))
    if not found:
        raise SubmissionError(f"{task} needs files that match {path!r}, and none in {os.getcwd()} does")
    yield from ((each, each) for each in found)


def _files(path: str, task: str) -> Iterator[str]:
    """Yield the files that a path stands for: itself, or those of a directory."""
    if not os.path.isdir(path):
        if not os.path.isfile(path):
            where = "" if os.path.isabs(path) else f" in {os.getcwd()}"
            problem = "is not a regular file" if os.path.lexists(path) else f"does not exist{where}"
            raise SubmissionError(f"{task} needs the file {path!r}, which {problem}")
        yield path
        return
    listed = _listed_by_git(path)
    home, left_out = os.path.realpath(path), []
    for name in _walk(path) if listed is None else listed:
        parts = os.path.relpath(name, path).split(os.sep)
        outside = not os.path.realpath(name).startswith(f"{home}{os.sep}")
        if outside or any(part in _NEVER or part.startswith(".env") for part in parts):
            left_out.append(name)
        elif os.path.isfile(name):
            yield name
    if left_out:
        _log.warning("%s: these files of %s are not sent: %s", task, path, ", ".join(sorted(left_out)[:20]))


def _walk(path: str) -> Iterator[str]:
    for directory, directories, names in os.walk(path):
        directories[:] = sorted(name for name in directories if name not in _NEVER)
        yield from (os.path.join(directory, name) for name in sorted(names))


def _listed_by_git(path: str) -> list[str] | None:
    """Return the files of a directory that git does not ignore; None if git does not know the directory."""
    command = ["git", "-C", path, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return None
    if done.returncode != 0:
        return None
    return [os.path.join(path, os.fsdecode(name)) for name in sorted(done.stdout.split(b"\0")) if name]
