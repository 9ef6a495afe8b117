"""Listing: find the runs below a directory by their files, and the states of their stages."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import ConfigurationError, SlurmError
from slurm.tools import submissions
from slurm.tools.clusters import cluster_at, place_url
from slurm.tools.errors import ManifestError, RunDirectoryError
from slurm.tools.manifest import load_manifest
from slurm.tools.run_directory import MANIFEST
from slurm.tools.submitted import states_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from slurm.tools.manifest import ManifestBase

_log = logging.getLogger(__name__)


class Listed(NamedTuple):
    """A prepared run: its directory, its manifest or the error in the manifest, and the number of its submissions."""

    directory: Path
    manifest: ManifestBase | None
    problem: str
    submissions: int


def list_runs(root: str | os.PathLike[str]) -> Iterator[Listed]:
    """Yield the prepared runs below a directory, sorted by path; reads one file of each run, and asks no cluster.

    Directories that cannot be read, and hidden ones, are left out. Raises RunDirectoryError if `root` is missing.
    """
    top = Path(root).expanduser().absolute()
    if not top.is_dir():
        raise RunDirectoryError(f"there is no directory {top}")
    for directory, names in _run_directories(str(top)):
        try:
            manifest, problem = load_manifest(directory), ""
        except ManifestError as error:
            manifest, problem = None, str(error)
        records = os.listdir(f"{directory}/{submissions.SUBMISSIONS}") if submissions.SUBMISSIONS in names else []
        count = sum(name.removesuffix(".json").isdecimal() for name in records)
        yield Listed(Path(directory), manifest, problem, count)


def list_states(runs: Sequence[Listed]) -> dict[Path, dict[str, str]]:
    """Return the states of the submitted stages, by run and stage. Takes a few commands for each cluster.

    The runs of a cluster that does not answer are left out, with a warning.
    """
    places: dict[tuple[str, str | None], dict[Path, list[dict[str, Any]]]] = {}
    for run in runs:
        if run.manifest and run.submissions:
            records = submissions.read(run.directory)
            places.setdefault(submissions.place(records, run.manifest), {})[run.directory] = records
    found = {}
    for (url, name), several in places.items():
        try:
            cluster = cluster_at(url, name)
            if place_url(cluster) != url:
                raise ConfigurationError(f"{name} is another place now: {place_url(cluster)}")
            states = states_of(cluster.place, [record for records in several.values() for record in records])
        except SlurmError as error:
            _log.warning("the states of %d runs at %s are not known: %s", len(several), url, error)
            continue
        for directory, records in several.items():
            keys = submissions.keys(records)
            found[directory] = {stage: states[key].state.value for stage, key in keys.items() if key in states}
    return found


def _run_directories(directory: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each directory with a manifest, and the names in it. Does not search the directories below a run."""
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
