"""Digests: the size and SHA-256 of a file, and of a directory with all its files."""

from __future__ import annotations

import os
import stat

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 20


def file_digest(path: str) -> tuple[int, str]:
    """Return the size and the SHA-256 of a file, in hexadecimal. Raises OSError."""
    from hashlib import sha256  # noqa: PLC0415 - plain tasks hash no files

    digest, size = sha256(), 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def directory_digest(path: str) -> tuple[int, str]:
    """Return the size of all files in a directory, and a SHA-256 of their list.

    The list has a line for each file, in the order of `files_in`: its digest, its name, and a newline. So equal
    directories have equal digests, whatever their times and owners. Raises OSError.
    """
    from hashlib import sha256  # noqa: PLC0415 - as above

    digest, total = sha256(), 0
    for name in files_in(path):
        size, of_file = file_digest(f"{path}/{name}")
        digest.update(os.fsencode(f"{of_file} {name}\n"))
        total += size
    return total, digest.hexdigest()


def files_in(directory: str) -> Iterator[str]:
    """Yield the paths of the regular files in a directory, sorted by name, relative to it. Follows no links."""
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from (f"{entry.name}/{name}" for name in files_in(entry.path))
        elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            yield entry.name
