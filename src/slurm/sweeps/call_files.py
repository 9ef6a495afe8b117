"""Call files: find the logs and output files of calls at their sources, and copy them home into shared tar files."""

from __future__ import annotations

import io
import logging
import tarfile
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import SlurmError, TransportError
from slurm.protocol import LOGS, WORK
from slurm.storage.work_files import list_files
from slurm.sweeps.code import Code

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.places.place import Place
    from slurm.storage.work_files import WorkFile
    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.records import Collected, Shard
    from slurm.sweeps.sources import Places

_log = logging.getLogger(__name__)

_LARGEST_LOGS = 1 << 20
_LARGEST_FILES = 8 << 20
"""The largest sizes in bytes of the logs of a call, and of its other files, that are copied home.

Larger ones stay at the source.
"""
_HEADER_BYTES = 1024
"""About how many bytes a file takes in a tar file besides its content."""

Call = tuple[int, int]
"""The number of a shard, and the number of a call in the shard."""


class CallFiles(NamedTuple):
    """The files that a call has left and that are copied home."""

    log: str | None
    """The path of the log in the directory of the submission; None if the log stays at the source."""
    files: bool
    """Whether the files of the output directory are copied home."""
    members: Mapping[str, WorkFile]
    """The files to copy, by their names in the tar file: the number of the shard, then the path in the directory of the
    submission."""

    @property
    def size(self) -> int:
        """About how many bytes the files take in a tar file."""
        return sum(file.size + _HEADER_BYTES for file in self.members.values())


def find_files(directory: SweepDirectory, places: Places, lines: Iterable[Collected]) -> dict[Call, CallFiles]:
    """List the files that calls have left, with one command for each source.

    The files of a source that fails are left out, with a warning, and stay there for now.
    """
    shards = directory.shards()
    found: dict[Call, CallFiles] = {}
    for url, some in by_url(shards, lines).items():
        place = places.of(shards[some[0].shard].cluster)
        codes = {shards[line.shard].code for line in some}
        try:
            inputs = {code: frozenset(Code.read(directory.path, code).inputs) for code in codes}
            found |= places.act(place, "collect", partial(_listed, place, shards, some, inputs))
        except SlurmError as error:
            _log.warning("logs and files of points stay at %s for now: %s", url, error)
    return found


def by_url(shards: Mapping[int, Shard], lines: Iterable[Collected]) -> dict[str, list[Collected]]:
    """Group the outcomes of calls by the URL of their source."""
    found: dict[str, list[Collected]] = {}
    for line in lines:
        found.setdefault(shards[line.shard].url, []).append(line)
    return found


def _listed(
    place: Place, shards: Mapping[int, Shard], lines: Sequence[Collected], inputs: Mapping[str, frozenset[str]]
) -> dict[Call, CallFiles]:
    """List the files that calls have left. `inputs`, by the name of the code, are files of the client: they are left
    out.
    """
    tops = {number: place.store.directory(shards[number].key) for number in {line.shard for line in lines}}
    works = [f"{tops[line.shard]}/{WORK}/{line.call}" for line in lines]
    listings = list_files(place.transport, [*(f"{top}/{LOGS}" for top in tops.values()), *works])
    logs: dict[int, dict[str, list[WorkFile]]] = {}  # by shard and first part of the name: one file for each rank
    for number, listing in zip(tops, listings, strict=False):
        for file in listing.files:
            logs.setdefault(number, {}).setdefault(file.name.partition(".")[0], []).append(file)
    found = {}
    for line, listing in zip(lines, listings[len(tops) :], strict=True):
        log = place.registry.get(shards[line.shard].key).log(line.call)
        name = log.removeprefix(f"{LOGS}/").removesuffix(".log")
        of_call = logs.get(line.shard, {}).get(name, [])
        small = sum(file.size for file in of_call) <= _LARGEST_LOGS
        sent = inputs[shards[line.shard].code]
        left = [file for file in listing.files if file.name.partition("/")[2] not in sent]
        files = sum(file.size for file in left) <= _LARGEST_FILES
        members = {f"{line.shard}/{LOGS}/{file.name}": file for file in of_call if small and file.size}
        if files:
            members |= {f"{line.shard}/{WORK}/{line.call}/{file.name}": file for file in left}
        found[line.shard, line.call] = CallFiles(log if small else None, files, members)
    return found


def tar_of(
    shards: Mapping[int, Shard], places: Places, calls: Mapping[Call, CallFiles]
) -> tuple[bytes, frozenset[str]]:
    """Copy files of calls into a tar file, with one command for each source; return the file, and the names in it.

    A file that cannot be read is left out, with a warning.
    """
    data, done = io.BytesIO(), set[str]()
    wanted: dict[str, dict[str, WorkFile]] = {}
    for (number, _), call in calls.items():
        wanted.setdefault(shards[number].url, {}).update(call.members)
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for url, members in wanted.items():
            cluster = next(shard.cluster for shard in shards.values() if shard.url == url)
            try:
                place = places.of(cluster)
                for name, content in places.act(place, "collect", partial(_contents, place, members)):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
                    done.add(name)
            except SlurmError as error:
                _log.warning("logs and files of points stay at %s for now: %s", url, error)
    return (data.getvalue(), frozenset(done)) if done else (b"", frozenset())


def _contents(place: Place, members: Mapping[str, WorkFile]) -> list[tuple[str, bytes]]:
    """Read files of calls, with one command; return their names and contents. Logs a warning for an unreadable file."""
    sources = {file.identity: file.path for file in members.values()}  # a second hard link comes without content
    names: dict[str, list[str]] = {}
    for name, file in members.items():
        names.setdefault(sources[file.identity], []).append(name)
    found: list[tuple[str, bytes]] = []
    for fetched in place.transport.fetch(list(names)) if names else ():
        try:
            content = b"".join(fetched.blocks())
        except TransportError as error:
            _log.warning("%s stays at its source: %s", fetched.path, error)
            continue
        found += [(name, content) for name in names.get(fetched.path, ())]
    return found
