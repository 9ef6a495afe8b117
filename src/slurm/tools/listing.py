"""Listing: the runs below a directory, from their own files. No cluster is asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from slurm.tools.errors import ManifestError, RunDirectoryError
from slurm.tools.manifest import load_manifest
from slurm.tools.run_directory import MANIFEST
from slurm.tools.submissions import SUBMISSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurm.tools.manifest import ManifestBase


class Listed(NamedTuple):
    """A prepared run: its directory, its manifest or why that is invalid, and the number of its submissions."""

    directory: Path
    manifest: ManifestBase | None
    problem: str
    submissions: int


def list_runs(root: str | os.PathLike[str]) -> Iterator[Listed]:
    """The prepared runs below a directory, by their paths; reads one file of each. Raises RunDirectoryError.

    Directories that cannot be read, and hidden ones, are left out.
    """
    top = Path(root).expanduser().absolute()
    if not top.is_dir():
        raise RunDirectoryError(f"there is no directory {top}")
    for directory, names in _run_directories(str(top)):
        try:
            manifest, problem = load_manifest(directory), ""
        except ManifestError as error:
            manifest, problem = None, str(error)
        records = os.listdir(f"{directory}/{SUBMISSIONS}") if SUBMISSIONS in names else []
        count = sum(name.removesuffix(".json").isdecimal() for name in records)
        yield Listed(Path(directory), manifest, problem, count)


def _run_directories(directory: str) -> Iterator[tuple[str, set[str]]]:
    """Each directory with a manifest, and the names in it. The directories below a run are not looked at."""
    try:
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    names = {entry.name for entry in entries}
    if MANIFEST in names:
        yield directory, names
        return
    for entry in entries:
        if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
            yield from _run_directories(entry.path)
