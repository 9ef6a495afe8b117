"""Fetch: lists the files that jobs have left in their output directories, and copies them to this machine."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import TransportError
from slurm.jobs.handle import Handle
from slurm.protocol import WORK
from slurm.storage.download import Download, download
from slurm.storage.patterns import Pattern
from slurm.storage.work_files import list_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from slurm.storage.work_files import Listing, WorkFile
    from slurm.views.status import Part

_log = logging.getLogger(__name__)


class _Files(NamedTuple):
    """The files in the output directory of each call of a part."""

    part: Part
    listings: Sequence[Listing]

    @classmethod
    def of(cls, part: Part) -> _Files:
        """List the files by one command."""
        top = f"{part.place.store.directory(part.state.key)}/{WORK}"
        return cls(part, list_files(part.place.transport, [f"{top}/{index}" for index in part.indices]))

    def fetch(self, patterns: Sequence[str], to: str | os.PathLike[str], *, numbered: bool) -> list[list[Path]]:
        """Copy the files that match to a directory, or to a subdirectory for each call. Returns their paths here."""
        wanted = [Pattern(text) for text in patterns]
        self._check(wanted)
        for index, listing in zip(self.part.indices, self.listings, strict=True):
            for name, link in listing.outside.items():
                if not wanted or any(pattern.matches(name) for pattern in wanted):
                    _log.warning("%s of %s is left out: it is a link to %s", name, self.part.state.name(index), link)
        chosen = [list(_chosen(listing, wanted)) for listing in self.listings]
        prefixes = [f"{index}/" if numbered else "" for index in self.part.indices]
        target = os.path.abspath(to)
        several = [
            [Download(file, f"{prefix}{file.name}") for file in files]
            for prefix, files in zip(prefixes, chosen, strict=True)
        ]
        download(self.part.place.transport, (each for group in several for each in group), target)
        return [[Path(target, each.name) for each in group] for group in several]

    def _check(self, patterns: Iterable[Pattern]) -> None:
        """Raise TransportError for the name of a link that leads out of its directory, or a pattern without a match."""
        for pattern in patterns:
            linked = [
                (index, name, target)
                for index, listing in zip(self.part.indices, self.listings, strict=True)
                for name, target in listing.outside.items()
                if pattern.matches(name)
            ]
            if linked and pattern.literal:
                index, name, target = linked[0]
                raise TransportError(
                    f"{name} of {self.part.state.name(index)} is not fetched, because it is a link to {target}, out of "
                    "the output directory: have the task copy the file there"
                )
            if not any(True for listing in self.listings for _ in _matching(listing, pattern)):
                names = (file.name for listing in self.listings for file in listing.files)
                raise TransportError(f"{self.part.state.key} has {pattern.no_match(names)}")


def _chosen(listing: Listing, patterns: Sequence[Pattern]) -> Iterator[WorkFile]:
    """Yield the files that match any of the patterns, each file once; all files if there are no patterns."""
    if not patterns:
        yield from listing.files
        return
    yield from {file.name: file for pattern in patterns for file in _matching(listing, pattern)}.values()


def _matching(listing: Listing, pattern: Pattern) -> Iterator[WorkFile]:
    """Yield the files that match, also by a name that begins with a link to a directory."""
    yield from (file for file in listing.files if pattern.matches(file.name))
    for link, directory in listing.directories.items():
        if pattern.begins_with(link):
            below = f"{directory}/" if directory else ""
            renamed = (
                file._replace(name=f"{link}/{file.name.removeprefix(below)}")
                for file in listing.files
                if file.name.startswith(below)
            )
            yield from (file for file in renamed if pattern.matches(file.name))


class JobFiles(Handle):
    """The files of one call."""

    __slots__ = ()

    def files(self) -> Sequence[WorkFile]:
        """The files in the call's output directory so far, by name. Takes one command."""
        return _Files.of(self.part).listings[0].files

    def fetch(self, *patterns: str, to: str | os.PathLike[str], wait: bool = True) -> list[Path]:
        """Wait for the end of the job, then copy files of its output directory to `to`. Returns their paths here.

        Copies all files, or the files that match a pattern such as "out/*.h5"; "out/" means all files below a
        directory, and `**/` any directories. Each file arrives whole, checked by the SHA-256 that was computed on the
        cluster, and replaces a file of the same name. Files that are here already are not sent again, so after an error
        you can call this method again. With `wait=False`, copies the files that exist now.

        Links that lead out of the output directory are left out, with a warning. Raises TransportError if a pattern
        matches no file, or is the name of such a link.
        """
        if wait:
            self._wait(self.part.indices, None)
        (paths,) = _Files.of(self.part).fetch(patterns, to, numbered=False)
        return paths


class ArrayFiles(Handle):
    """The files of several calls."""

    __slots__ = ()

    def files(self) -> list[Sequence[WorkFile]]:
        """The files in the output directory of each call so far, in order. Takes one command."""
        return [listing.files for listing in _Files.of(self.part).listings]

    def fetch(self, *patterns: str, to: str | os.PathLike[str], wait: bool = True) -> list[list[Path]]:
        """Wait for all calls, then copy files of their output directories to `to/<index>/`. Returns their paths here.

        Like `Job.fetch`, but the files of all calls are copied together. A call may have no file that matches. Raises
        TransportError for a pattern that matches no file of any call.
        """
        if wait:
            self._wait(self.part.indices, None)
        return _Files.of(self.part).fetch(patterns, to, numbered=True)
