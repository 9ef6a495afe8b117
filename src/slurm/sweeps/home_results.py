"""Home results: the pickled results of points, in `collected/<word>.pkl`; one such file holds many results."""

from __future__ import annotations

import hashlib
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from slurm.errors import ConfigurationError, ProtocolError, SlurmError
from slurm.protocol import RESULTS
from slurm.protocol.files import NewFile, open_own
from slurm.serialization.unpickling import load
from slurm.sweeps.directory import COLLECTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import IO

    from slurm.places.place import Place
    from slurm.sweeps.call_files import Call
    from slurm.sweeps.records import Collected, Located, Shard
    from slurm.sweeps.sources import Places
    from slurm.transports.base import Fetched

    Calls = Sequence[tuple[Collected, Located]]

_log = logging.getLogger(__name__)


def bring_results(
    directory: Path, shards: Mapping[int, Shard], places: Places, calls: Calls
) -> dict[Call, tuple[str, int, int]]:
    """Copy the results of calls to one file for each source, with one command for each; return the file and the offsets
    of each result.

    Each result is checked against the SHA-256 in its outcome. Results that cannot be read, or whose file here cannot be
    written, stay at their source, with a warning. Memory does not grow with the size of the results.
    """
    by_url: dict[str, dict[str, Calls]] = {}
    for line, located in calls:
        shard = shards[line.shard]
        path = f"{places.of(shard.cluster).store.directory(shard.key)}/{RESULTS}/{located.record.file}"
        paths = by_url.setdefault(shard.url, {})
        paths[path] = [*paths.get(path, ()), (line, located)]
    found: dict[Call, tuple[str, int, int]] = {}
    for url, paths in by_url.items():
        line, _ = next(iter(paths.values()))[0]
        try:
            place = places.of(shards[line.shard].cluster)
            found |= places.act(place, "collect", partial(_bring, directory, place, paths))
        except SlurmError as error:
            _log.warning("results stay at %s for now: %s", url, error)
    return found


def _bring(directory: Path, place: Place, paths: Mapping[str, Calls]) -> dict[Call, tuple[str, int, int]]:
    path = directory / COLLECTED / f"{os.urandom(8).hex()}.pkl"
    found: dict[Call, tuple[str, int, int]] = {}
    new: NewFile | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = NewFile(str(path))
        for fetched in place.transport.fetch(list(paths), private=True):
            found |= _append(new.file, path.name, fetched, paths[fetched.path])
        if found:
            new.commit()
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    finally:
        if new:
            new.discard()
    return found


def _append(file: IO[bytes], name: str, fetched: Fetched, calls: Calls) -> dict[Call, tuple[str, int, int]]:
    """Append the results of calls, which the file of their element holds, to `file`.

    Appends nothing if the SHA-256 of the element's file differs from the saved one.
    """
    first, last = min(at.begin for _, at in calls), max(at.end for _, at in calls)
    top, read, sha256 = file.tell(), 0, hashlib.sha256()
    try:
        for block in fetched.blocks():
            sha256.update(block)
            file.write(memoryview(block)[max(0, first - read) : max(0, last - read)])
            read += len(block)
        if sha256.hexdigest() != calls[0][1].record.sha256:
            raise ProtocolError(f"{fetched.path} is not the result that was saved: its SHA-256 differs")
    except SlurmError as error:
        _log.warning("a result stays at its source: %s", error)
        file.seek(top)
        file.truncate()
        return {}
    return {(line.shard, line.call): (name, top + at.begin - first, top + at.end - first) for line, at in calls}


def result_of(directory: Path, at: tuple[str, int, int]) -> Any:
    """Unpickle a result that was collected.

    Raises ProtocolError if the file is damaged, UntrustedFile if another user could have written it, and the errors of
    unpickling.
    """
    name, begin, end = at
    path = directory / COLLECTED / name
    try:
        file = open_own(str(path))
    except OSError as error:
        raise ProtocolError(f"cannot read {path}: {error.strerror}") from error
    with file:
        if os.fstat(file.fileno()).st_size < end:
            raise ProtocolError(f"{path} is cut off")
        file.seek(begin)
        return load(file)
