"""Digests: the size and SHA-256 of a file, and of a directory with all its files."""

from __future__ import annotations

import os
import stat
import sys

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_BLOCK = 1 << 20
_LARGE = 4 << 20


def file_digest(path: str) -> tuple[int, str]:
    """Return the size and the SHA-256 of a file, in hexadecimal. Raises OSError."""
    size = 0
    with open(path, "rb") as file:
        digest = _sha256(os.fstat(file.fileno()).st_size)
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def directory_digest(path: str) -> tuple[int, str]:
    """Return the size of all files in a directory, and a SHA-256 of their list.

    The list has a line for each file, in the order of `files_in`: its digest, its name, and a newline. So equal
    directories have equal digests, even if times and owners differ. Raises OSError.
    """
    digest, total = _sha256(0), 0
    for name in files_in(path):
        size, of_file = file_digest(f"{path}/{name}")
        digest.update(os.fsencode(f"{of_file} {name}\n"))
        total += size
    return total, digest.hexdigest()


def _sha256(size: int) -> Any:
    """Return a SHA-256 object for `size` bytes. To load OpenSSL takes longer than to hash a small file."""
    for name in (*(("_sha2" if sys.version_info >= (3, 12) else "_sha256",) if size < _LARGE else ()), "hashlib"):
        try:
            return __import__(name).sha256()
        except ImportError:
            continue
    raise AssertionError("hashlib is in the standard library")


def files_in(directory: str) -> Iterator[str]:
    """Yield the paths of the regular files in a directory, sorted by name, relative to it. Follows no links."""
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from (f"{entry.name}/{name}" for name in files_in(entry.path))
        elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            yield entry.name
