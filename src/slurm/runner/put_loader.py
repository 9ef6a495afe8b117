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

_loaded: dict[str, Any] = {}
"""What this process has loaded, by key."""


def load_put(root: str, key: str, size: int, resolve: Callable[[Any], Any]) -> Any:
    """Return the object, or the path of the file or directory. Each is loaded once in a process.

    Raises OSError, UntrustedFile, ValueError for a file that was changed in place, and any exception of unpickling.
    """
    what, _, sha256 = key.partition("/")
    if key not in _loaded:
        blob = checked_blob(root, LinkedFile(name=what, sha256=sha256, bytes=size))
        _loaded[key] = _object(blob, resolve) if what == "object" else _tree(root, sha256, blob)
    return _loaded[key]


def _object(blob: str, resolve: Callable[[Any], Any]) -> Any:
    from slurm.runner.argument_loader import unpickled  # noqa: PLC0415 - it has loaded this module

    with open_own(blob) as file:
        return unpickled(file, resolve)


def _tree(root: str, sha256: str, blob: str) -> Any:
    """Return the path of a file or directory: a tree of links in `blobs/`, made by the first process that needs it."""
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
        from slurm.runner.attempt_directory import remove_tree  # noqa: PLC0415 - seldom needed

        remove_tree(hidden)
    return Path(tree, name)
