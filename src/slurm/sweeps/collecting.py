"""Collecting: outcomes, and results that are small, come home in files of many."""

from __future__ import annotations

import hashlib
import logging
import os
from io import BytesIO
from typing import TYPE_CHECKING, Any

from slurm.errors import ProtocolError, SlurmError, TransportError
from slurm.protocol import RESULTS
from slurm.serialization.unpickling import load
from slurm.sweeps.directory import COLLECTED, write_once

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.records import Collected, Located, Shard
    from slurm.sweeps.snapshot import Snapshot, SnapshotReader
    from slurm.sweeps.sources import Places

_log = logging.getLogger(__name__)

_LARGEST = 1 << 20
"""The most bytes of a result that comes home; a larger one is read at its source when it is asked for."""
_MOST_BYTES = 64 << 20
"""The most bytes of the results beside one file of outcomes."""


def collect(directory: SweepDirectory, places: Places, fresh: Sequence[tuple[Collected, Located | None]]) -> None:
    """Write outcomes into `collected/`, with their pickled results beside them. Two files, whatever their number.

    Takes one command for each source with results. Results that cannot be read stay at their source.
    """
    pickles = _results(directory.shards(), places, fresh)
    name, data, lines = f"{os.urandom(8).hex()}.pkl", BytesIO(), list[Any]()
    for line, _ in fresh:
        result = pickles.get((line.shard, line.call))
        if result is not None:
            begin = data.tell()
            data.write(result)
            line = line._replace(result=(name, begin, data.tell()))  # noqa: PLW2901 - the same line, with its result
        lines.append(line)
    if data.tell():
        write_once(directory.path / COLLECTED / name, data.getvalue())
    directory.collect(lines)


def result_of(directory: Path, at: tuple[str, int, int]) -> Any:
    """Unpickle a result that was collected. Raises ProtocolError if it is damaged, and what unpickling raises."""
    name, begin, end = at
    path = directory / COLLECTED / name
    try:
        with path.open("rb") as file:
            file.seek(begin)
            data = file.read(end - begin)
    except OSError as error:
        raise ProtocolError(f"cannot read {path}: {error.strerror}") from error
    if len(data) != end - begin:
        raise ProtocolError(f"{path} is cut off")
    return load(BytesIO(data))


def remove_collected(snapshot: Snapshot, reader: SnapshotReader, places: Places, *, execute: bool) -> list[str]:
    """The directories of shards whose calls have all succeeded, with their results collected; removed on `execute`."""
    found: dict[str, list[tuple[Shard, str]]] = {}
    for number, shard in snapshot.shards.items():
        if all(reader.result_at(number, at) for at in range(len(shard.numbers))):
            path = places.of(shard.cluster).store.directory(shard.key)
            found.setdefault(shard.url, []).append((shard, path))
    for some in found.values() if execute else ():
        transport = places.of(some[0][0].cluster).transport
        done = transport.run(["rm", "-rf", *(path for _, path in some)], timeout=600)
        if done.status != 0:
            raise TransportError(f"cannot remove directories of {some[0][0].source}: {done.words}")
    return [path for some in found.values() for _, path in some]


def _results(
    shards: Mapping[int, Shard], places: Places, fresh: Sequence[tuple[Collected, Located | None]]
) -> dict[tuple[int, int], bytes]:
    """The pickled results of calls, by shard and call: of those that are small, as far as there is room."""
    wanted: dict[str, dict[str, list[tuple[Collected, Located]]]] = {}
    left = _MOST_BYTES
    for line, record in fresh:
        if record is None or not line.ended.succeeded:
            continue
        size = record.end - record.begin
        if size > _LARGEST or (left := left - size) < 0:
            continue
        shard = shards[line.shard]
        place = places.of(shard.cluster)
        path = f"{place.store.directory(shard.key)}/{RESULTS}/{record.record.file}"
        wanted.setdefault(shard.url, {}).setdefault(path, []).append((line, record))
    found: dict[tuple[int, int], bytes] = {}
    for some in wanted.values():
        line, _ = next(iter(some.values()))[0]
        try:
            files = places.of(shards[line.shard].cluster).transport.get(list(some), private=True)
        except SlurmError as error:
            _log.warning("results stay at %s for now: %s", shards[line.shard].source, error)
            continue
        for path, calls in some.items():
            data = files.get(path, b"")
            if hashlib.sha256(data).hexdigest() == calls[0][1].record.sha256:
                found |= {(line.shard, line.call): data[record.begin : record.end] for line, record in calls}
    return found
