"""Collecting: copy outcomes, results, and small logs and files home, many in one file."""

from __future__ import annotations

import logging
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from slurm.errors import SlurmError, TransportError
from slurm.protocol import LOGS
from slurm.sweeps.call_files import Call, CallFiles, by_url, find_files, tar_of
from slurm.sweeps.home_results import bring_results
from slurm.sweeps.looking import PATIENCE, scheduler_answers
from slurm.sweeps.records import Located

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from slurm.places.place import Place
    from slurm.sweeps.directory import SweepDirectory
    from slurm.sweeps.records import Collected, Shard
    from slurm.sweeps.snapshot import Snapshot, SnapshotReader
    from slurm.sweeps.sources import Places

T = TypeVar("T")

_log = logging.getLogger(__name__)

_MOST_BYTES = 64 << 20
"""The most bytes of results that are copied together, and of the logs and files beside one file of outcomes."""

Fresh = tuple["Collected", "Located | None"]
"""An outcome, and where its result is at its source; None if the result stays there."""


def collect(
    directory: SweepDirectory, places: Places, fresh: Sequence[Fresh], *, silent: Collection[str] = ()
) -> Iterator[int]:
    """Write outcomes into `collected/`, with their pickled results, logs and files beside them: three files for a part.

    Yields the number of outcomes of each part. There are several parts if results or files take more than 64 MiB. Takes
    three commands for each source for the first part, then two for each later part. Results and files that cannot be
    read stay at their source; so do those of the `silent` sources, which are named by URL.
    """
    shards = directory.shards()
    fresh = [(line, None if shards[line.shard].url in silent else at) for line, at in fresh]
    lines = [line for line, _ in fresh if not line.ended.withdrawn and shards[line.shard].url not in silent]
    for home, tar in _brought(directory, places, fresh, find_files(directory, places, lines)):
        directory.collect(home, tar)
        yield len(home)


def collect_left(directory: SweepDirectory, places: Places) -> int:
    """Copy home the results and files that stayed at their source when outcomes were collected; returns the number of
    calls.

    Takes two more commands than `collect` for each source with such calls. Leaves out sources whose scheduler does not
    answer.
    """
    known: dict[Call, Collected] = {}
    for lines in directory.collected().values():
        for line in lines:
            at = line.shard, line.call
            known[at] = max(known.get(at, line), line, key=lambda each: each.home)
    left = [line for line in known.values() if not (line.ended.withdrawn or _is_home(line))]
    shards, found, fresh = directory.shards(), dict[Call, CallFiles](), list[Fresh]()
    for some in by_url(shards, left).values():
        place = places.of(shards[some[0].shard].cluster)
        if scheduler_answers(place, PATIENCE):
            found |= find_files(directory, places, some)
            try:
                fresh += places.act(place, "collect", partial(_located, place, shards, some))
            except SlurmError as error:
                _log.warning("results stay at %s for now: %s", place.url, error)
                fresh += [(line, None) for line in some]
    count = 0
    for home, tar in _brought(directory, places, fresh, found):
        more = [line for line in home if line.home > known[line.shard, line.call].home]
        if more:
            directory.collect(more, tar)
            count += len(more)
    return count


def _located(place: Place, shards: Mapping[int, Shard], lines: Sequence[Collected]) -> list[Fresh]:
    """Find the results of calls that are still at their source, with one command."""
    wanted: dict[str, set[int]] = {}
    for line in lines:
        if line.result is None and line.ended.succeeded:
            wanted.setdefault(shards[line.shard].key, set()).add(line.call // shards[line.shard].chunk)
    outcomes = place.store.several_outcomes(wanted) if wanted else {}
    found: list[Fresh] = []
    for line in lines:
        shard, missing = shards[line.shard], line.result is None and shards[line.shard].key in outcomes
        outcome = outcomes[shard.key].read.get(line.call // shard.chunk) if missing else None
        found.append((line, Located.of(outcome, line.call % shard.chunk) if outcome else None))
    return found


def _brought(
    directory: SweepDirectory, places: Places, fresh: Sequence[Fresh], found: Mapping[Call, CallFiles]
) -> Iterator[tuple[list[Collected], bytes]]:
    """Copy results to `collected/`; yield outcomes that say what was copied, with a tar file of logs and files."""
    shards = directory.shards()
    elements = [list(some) for _, some in groupby(fresh, lambda each: _element(shards, each[0]))]
    for several in _parts(elements, lambda some: sum(at.end - at.begin for _, at in some if at)):
        group = [each for some in several for each in some]
        results = bring_results(directory.path, shards, places, [(line, at) for line, at in group if at])
        for part in _parts(group, lambda each: found[at].size if (at := _call(each[0])) in found else 0):
            calls = {at: found[at] for line, _ in part if (at := _call(line)) in found}
            tar, members = tar_of(shards, places, calls)
            lines = [line._replace(result=results.get(_call(line), line.result)) for line, _ in part]
            yield [_with_files(line, calls, members) for line in lines], tar


def _parts(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Split items into parts of at most 64 MiB; a larger item is a part by itself."""
    part: list[T] = []
    room = _MOST_BYTES
    for item in items:
        bytes_ = size(item)
        if part and bytes_ > room:
            yield part
            part, room = [], _MOST_BYTES
        part.append(item)
        room -= bytes_
    if part:
        yield part


def _call(line: Collected) -> Call:
    return line.shard, line.call


def _element(shards: Mapping[int, Shard], line: Collected) -> tuple[int, int]:
    return line.shard, line.call // shards[line.shard].chunk


def _with_files(line: Collected, calls: Mapping[Call, CallFiles], members: frozenset[str]) -> Collected:
    """Return an outcome that says which of its files were copied home."""
    files = calls.get((line.shard, line.call))
    if files is None:
        return line
    left = [name for name in files.members if name not in members]
    logs = f"{line.shard}/{LOGS}/"
    log = None if any(name.startswith(logs) for name in left) else files.log
    return line._replace(log=log, files=files.files and all(name.startswith(logs) for name in left))


def remove_collected(snapshot: Snapshot, reader: SnapshotReader, places: Places, *, execute: bool) -> list[str]:
    """Return the directories of shards whose calls have all succeeded, and whose files were all collected.

    With `execute`, removes the directories at their sources. Raises TransportError if a removal fails.
    """
    removed: dict[str, list[tuple[Shard, str]]] = {}
    for number, shard in snapshot.shards.items():
        lines = [found[1] if (found := reader.home(number, at)) else None for at in range(len(shard.numbers))]
        if all(line is not None and line.ended.succeeded and _is_home(line) for line in lines):
            path = places.of(shard.cluster).store.directory(shard.key)
            removed.setdefault(shard.url, []).append((shard, path))
    for some in removed.values() if execute else ():
        transport = places.of(some[0][0].cluster).transport
        done = transport.run(["rm", "-rf", *(path for _, path in some)], timeout=600)
        if done.status != 0:
            raise TransportError(f"cannot remove directories of {some[0][0].source}: {done.words}")
    return [path for some in removed.values() for _, path in some]


def _is_home(line: Collected) -> bool:
    """Whether the result, the log and the files of a call were copied home. The result of a program is its files."""
    without = not line.ended.succeeded or line.ended.directory is not None
    return line.log is not None and line.files and (line.result is not None or without)
