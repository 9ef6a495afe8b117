"""Download: copies files of jobs to this machine, in parts, so that an interrupted download can continue."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import TransportError
from slurm.storage.work_files import check_name, digests

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from slurm.storage.work_files import WorkFile
    from slurm.transports.base import Fetched, Transport

PART_BYTES = 64 << 20
"""The most bytes of a part of several files. A part arrives whole, or is sent again after a lost connection."""
_HEADER_BYTES = 1024
"""About the bytes that a file takes in an archive besides its content."""
_TRIES = 3
"""How often to read a file that changes while it is read."""


class Download(NamedTuple):
    """A file to copy, and its name below the target directory."""

    file: WorkFile
    name: str


def download(transport: Transport, wanted: Iterable[Download], to: str) -> None:
    """Copy files to the directory `to` on this machine. Replaces files there whose content differs.

    Each file appears whole, with the SHA-256 that was computed on the cluster, or not at all. Files that are already
    there are not sent again. Raises TransportError if a file cannot be read or written, if it keeps changing, or if its
    directory is a link that leads out of `to`.
    """
    for part in _parts(wanted):
        left = part
        for _ in range(_TRIES):
            left = _copy(transport, left, to)
            if not left:
                break
        else:
            raise TransportError(
                f"{left[0].file.path} changes while it is copied, so {left[0].name} was not written. "
                "Fetch it again once no process writes to it"
            )


def _parts(wanted: Iterable[Download]) -> Iterator[list[Download]]:
    part: list[Download] = []
    room = PART_BYTES
    for each in wanted:
        size = each.file.size + _HEADER_BYTES
        if part and size > room:
            yield part
            part, room = [], PART_BYTES
        part.append(each)
        room -= size
    if part:
        yield part


def _copy(transport: Transport, part: Sequence[Download], to: str) -> list[Download]:
    """Copy files whose content on this machine differs. Returns the files that changed while they were copied."""
    sources = {each.file.identity: each.file.path for each in part}  # tar stores a second hard link without content
    expected = digests(transport, list(dict.fromkeys(sources.values())))
    left: dict[str, list[Download]] = {}
    for each in part:
        path = sources[each.file.identity]
        if _digest(target(to, each.name)) != expected[path]:
            left.setdefault(path, []).append(each)
    for file in transport.fetch(list(left)) if left else ():
        copied = [_write(file, target(to, each.name), expected[file.path]) for each in left.get(file.path, ())]
        if all(copied):
            left.pop(file.path, None)
    return [each for group in left.values() for each in group]


def target(to: str, name: str) -> str:
    """Return the path of a file on this machine. Raises TransportError if its directory leads out of `to`."""
    check_name(name)
    path = os.path.join(to, name)
    directory, top = os.path.realpath(os.path.dirname(path)), os.path.realpath(to)
    if os.path.commonpath([directory, top]) != top:
        raise TransportError(f"{path} cannot be written: {os.path.dirname(path)} is a link that leads out of {to}")
    return path


def _digest(path: str) -> str | None:
    """Return the SHA-256 of a file on this machine; None if there is no such file, or if it is a link."""
    if os.path.islink(path):
        return None
    sha256 = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                sha256.update(block)
    except OSError:
        return None
    return sha256.hexdigest()


def _write(file: Fetched, path: str, expected: str) -> bool:
    """Write a file on this machine if it has the expected digest, and return whether it has. Raises TransportError."""
    directory = os.path.dirname(path)
    hidden = os.path.join(directory, f".slurm-{os.urandom(6).hex()}")
    sha256 = hashlib.sha256()
    try:
        os.makedirs(directory, exist_ok=True)
        with open(hidden, "xb") as copy:
            for block in file.blocks():
                sha256.update(block)
                copy.write(block)
        same = sha256.hexdigest() == expected
        if same:
            os.replace(hidden, path)
    except OSError as error:
        raise TransportError(f"{path} cannot be written on this machine: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(hidden)
    return same
