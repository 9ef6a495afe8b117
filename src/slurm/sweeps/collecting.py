"""Collecting: outcomes, and what is small of results, logs and files, come home in files of many."""

from __future__ import annotations

import hashlib
import logging
import os
from io import BytesIO
from typing import TYPE_CHECKING, Any

from slurm.errors import ProtocolError, SlurmError, TransportError
from slurm.protocol import LOGS, RESULTS
from slurm.protocol.files import open_own
from slurm.serialization.unpickling import load
from slurm.sweeps.call_files import Call, CallFiles, by_url, find_files, tar_of
from slurm.sweeps.directory import COLLECTED, write_once
from slurm.sweeps.looking import PATIENCE, scheduler_answers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.records import Collected, Located, Shard
    from slurm.sweeps.snapshot import Snapshot, SnapshotReader
    from slurm.sweeps.sources import Places

_log = logging.getLogger(__name__)

_LARGEST = 1 << 20
"""The most bytes of a result that comes home; a larger one is read at its source when it is asked for."""
_MOST_BYTES = 64 << 20
"""The most bytes of the results beside one file of outcomes, and of the logs and files."""


def collect(
    directory: SweepDirectory,
    places: Places,
    fresh: Sequence[tuple[Collected, Located | None]],
    *,
    silent: Collection[str] = (),
) -> None:
    """Write outcomes into `collected/`, with their pickled results, logs and files beside them: three files, or more if
    those of the calls take more than 64 MiB.

    Takes three commands for each source. What cannot be read stays at its source, as do the results and files of
    sources that are `silent`, by their URLs.
    """
    shards = directory.shards()
    fresh = [(line, None if shards[line.shard].url in silent else at) for line, at in fresh]
    lines = [line for line, _ in fresh if not line.ended.withdrawn and shards[line.shard].url not in silent]
    found = find_files(directory, places, lines)
    for some in _groups(fresh, found):
        lines = _with_results(directory, places, some)
        calls = {at: found[at] for line in lines if (at := (line.shard, line.call)) in found}
        tar, members = tar_of(shards, places, calls)
        directory.collect([_with_files(line, calls, members) for line in lines], tar)


def collect_left(directory: SweepDirectory, places: Places) -> int:
    """Bring home logs and files of calls whose outcomes were collected without them; returns of how many calls.

    Takes three commands for each source with such calls. Sources whose scheduler does not answer are left out.
    """
    known: dict[Call, Collected] = {}
    for lines in directory.collected().values():
        for line in lines:
            at = line.shard, line.call
            known[at] = max(known.get(at, line), line, key=lambda each: each.home)
    left = [line for line in known.values() if not (line.ended.withdrawn or (line.log is not None and line.files))]
    shards, found = directory.shards(), dict[Call, CallFiles]()
    for some in by_url(shards, left).values():
        if scheduler_answers(places.of(shards[some[0].shard].cluster), PATIENCE):
            found |= find_files(directory, places, some)
    count = 0
    for group in _groups([(line, None) for line in left], found):
        calls = {at: found[at] for line, _ in group if (at := (line.shard, line.call)) in found}
        tar, members = tar_of(shards, places, calls)
        more = [now for line, _ in group if (now := _with_files(line, calls, members)).home > line.home]
        if more:
            directory.collect(more, tar)
            count += len(more)
    return count


def _groups(
    fresh: Sequence[tuple[Collected, Located | None]], found: Mapping[Call, CallFiles]
) -> Iterator[list[tuple[Collected, Located | None]]]:
    """Split outcomes so that the files of each group fit into one tar file."""
    group: list[tuple[Collected, Located | None]] = []
    room = _MOST_BYTES
    for each in fresh:
        files = found.get((each[0].shard, each[0].call))
        size = files.size if files else 0
        if group and size > room:
            yield group
            group, room = [], _MOST_BYTES
        group.append(each)
        room -= size
    if group:
        yield group


def _with_files(line: Collected, calls: Mapping[Call, CallFiles], members: frozenset[str]) -> Collected:
    """Return an outcome that says which of its files have come home."""
    files = calls.get((line.shard, line.call))
    if files is None:
        return line
    left = [name for name in files.members if name not in members]
    logs = f"{line.shard}/{LOGS}/"
    log = None if any(name.startswith(logs) for name in left) else files.log
    return line._replace(log=log, files=files.files and all(name.startswith(logs) for name in left))


def _with_results(
    directory: SweepDirectory, places: Places, fresh: Sequence[tuple[Collected, Located | None]]
) -> list[Collected]:
    """Write the pickled results of calls into a file; return the outcomes with where they are in it."""
    pickles = _results(directory.shards(), places, fresh)
    lines: list[Collected] = []
    name, data = f"{os.urandom(8).hex()}.pkl", BytesIO()
    for line, _ in fresh:
        result = pickles.get((line.shard, line.call))
        if result is not None:
            begin = data.tell()
            data.write(result)
            line = line._replace(result=(name, begin, data.tell()))  # noqa: PLW2901 - the same line, with its result
        lines.append(line)
    if data.tell():
        write_once(directory.path / COLLECTED / name, data.getvalue())
    return lines


def result_of(directory: Path, at: tuple[str, int, int]) -> Any:
    """Unpickle a result that was collected. Raises ProtocolError if it is damaged, UntrustedFile if another user could
    have written it, and what unpickling raises.
    """
    name, begin, end = at
    path = directory / COLLECTED / name
    try:
        with open_own(str(path)) as file:
            file.seek(begin)
            data = file.read(end - begin)
    except OSError as error:
        raise ProtocolError(f"cannot read {path}: {error.strerror}") from error
    if len(data) != end - begin:
        raise ProtocolError(f"{path} is cut off")
    return load(BytesIO(data))


def remove_collected(snapshot: Snapshot, reader: SnapshotReader, places: Places, *, execute: bool) -> list[str]:
    """The directories of shards whose calls have all succeeded, with all collected; removed on `execute`."""
    found: dict[str, list[tuple[Shard, str]]] = {}
    for number, shard in snapshot.shards.items():
        if all(_is_home(reader.home(number, at)) for at in range(len(shard.numbers))):
            path = places.of(shard.cluster).store.directory(shard.key)
            found.setdefault(shard.url, []).append((shard, path))
    for some in found.values() if execute else ():
        transport = places.of(some[0][0].cluster).transport
        done = transport.run(["rm", "-rf", *(path for _, path in some)], timeout=600)
        if done.status != 0:
            raise TransportError(f"cannot remove directories of {some[0][0].source}: {done.words}")
    return [path for some in found.values() for _, path in some]


def _is_home(found: tuple[int, Collected] | None) -> bool:
    """Whether a call has succeeded, and its result, log and files have come home. A program's result is its files."""
    if found is None or found[1].log is None or not found[1].files:
        return False
    line = found[1]
    return line.result is not None or (line.ended.succeeded and line.ended.directory is not None)


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
