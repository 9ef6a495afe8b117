"""load_put: the object, file or directory that a client has sent by `cluster.put`."""

from __future__ import annotations

import os

from slurm.protocol import BLOBS
from slurm.protocol.files import open_own
from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.linked_files import LinkedFile, checked_blob, link_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ALIGNED = 64
"""The offset of each array's data in a file is a multiple of this many bytes."""
_SIZE_BYTES = 8
_loaded: dict[str, Any] = {}
"""The objects and paths that this process has loaded, by key."""


def load_put(root: str, key: str, size: int, resolve: Callable[[Any], Any]) -> Any:
    """Return the object, or the path of the file or directory. A process loads each only once.

    Raises OSError, UntrustedFile, ValueError for a file that was changed in place, and any exception of unpickling.
    """
    what, _, sha256 = key.partition("/")
    if key not in _loaded:
        blob = checked_blob(root, LinkedFile(name=what, sha256=sha256, bytes=size))
        _loaded[key] = _tree(root, sha256, blob) if what == "tree" else _object(blob, resolve, mapped=what == "mapped")
    return _loaded[key]


def _object(blob: str, resolve: Callable[[Any], Any], *, mapped: bool) -> Any:
    from slurm.runner.argument_loader import unpickled  # noqa: PLC0415 - it has loaded this module

    with open_own(blob) as file:
        if not mapped:
            return unpickled(file, resolve)
        from io import BytesIO  # noqa: PLC0415 - only for objects with arrays
        from mmap import ACCESS_READ, mmap  # noqa: PLC0415

        data = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
    count = int.from_bytes(data[-_SIZE_BYTES:], "little")  # of arrays. Their sizes, and that of the pickle, precede it
    parts: list[memoryview] = []
    offset = 0
    for at in range(len(data) - (count + 2) * _SIZE_BYTES, len(data) - _SIZE_BYTES, _SIZE_BYTES):
        size = int.from_bytes(data[at : at + _SIZE_BYTES], "little")
        offset += -offset % ALIGNED if len(parts) < count else 0
        parts.append(data[offset : offset + size])
        offset += size
    return unpickled(BytesIO(parts.pop()), resolve, parts)


def _tree(root: str, sha256: str, blob: str) -> Any:
    """Return the path of a file or directory in a tree of links in `blobs/`. The first process makes the tree."""
    import json  # noqa: PLC0415 - plain tasks read no JSON
    from pathlib import Path  # noqa: PLC0415

    with open_own(blob) as data:
        name, listed = json.load(data)
    files = [LinkedFile(**dict(fields)) for fields in listed]
    tree = f"{root}/{BLOBS}/{sha256}-tree"
    if os.access(tree, os.F_OK):
        for file in files:
            checked_blob(root, file)
            if os.stat(f"{tree}/{file.name}").st_size != file.bytes:
                raise ValueError(f"{tree}/{file.name} was replaced by another file. Remove {tree}, and submit again")
        return Path(tree, name)
    hidden = f"{root}/{BLOBS}/.{sha256}.{os.urandom(6).hex()}"
    link_files(root, files, hidden)
    for directory, _, _ in os.walk(hidden, topdown=False):
        if directory != hidden:
            os.chmod(directory, 0o555)  # noqa: S103 - the directory above it is private
    try:
        os.rename(hidden, tree)
    except OSError:  # another process was first
        from slurm.runner.attempt_directory import remove_tree  # noqa: PLC0415 - rarely needed

        remove_tree(hidden)
    return Path(tree, name)
