"""Log following: yield the output of calls while they run, until they have ended and nothing can be added."""

from __future__ import annotations

import logging
import threading
import time
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import SchedulerError, TransportError
from slurm.jobs.rank_logs import ALL, check_alone, rank_logs
from slurm.protocol import LOGS
from slurm.storage.log_growth import MOST, growth
from slurm.storage.program_logs import MARK, output_paths

if TYPE_CHECKING:
    from codecs import IncrementalDecoder
    from collections.abc import Iterable, Iterator, Sequence

    from slurm.jobs.rank_logs import Rank
    from slurm.submission.status import Server
    from slurm.views.status import Part

_log = logging.getLogger(__name__)

_SHORTEST, _LONGEST, _FACTOR = 0.5, 3.0, 1.3
"""Seconds between two readings: the least, the most after silence, and how fast they grow to it."""
_QUIET = 5.0
"""Seconds without output for which the log of an ended call is still read. The last reading reads all logs."""
_MOST_AFTER_THE_END = 30.0
"""Seconds after the end to wait for more output, if the scheduler still reports a process."""
_END = 1 << 16
"""The bytes at the end of a log that may name the files that programs write to."""
_AT_ONCE = 100
"""The number of logs that one round trip reads as a whole."""


class Added(NamedTuple):
    """New output of the calls that share a log."""

    calls: Sequence[int]
    path: str
    """The log, or a file that a call's program writes to; relative to the submission's directory."""
    data: bytes
    rank: int = 0


def follow(part: Part, rank: Rank = 0, *, stderr: bool = False) -> Iterator[Added]:
    """Yield the output of calls so far, then each addition, until all calls have ended and all output is read.

    Reads at most every half second, and less often while nothing is printed. A call that has ended may print more,
    while its process exits or its hooks run. So the last reading begins when the scheduler has no process of the calls
    any more. A reading that fails is logged and tried again; after the end of the calls for 30 seconds at most, then
    TransportError is raised.
    """
    place, state, indices = part
    check_alone(part, rank, stderr=stderr)
    logs = _Logs(part, rank, stderr=stderr) if state.server is None else _CallLogs(part, state.server)
    ended = threading.Event()
    for index in indices:
        place.tracker.when_finished(state, index, ended.set)
    try:
        yield from logs.read_all()
        yield from _additions(part, logs, ended)
    finally:
        for index in indices:
            state.remove_callback(index, ended.set)


def follow_text(part: Part, rank: Rank = 0, *, stderr: bool = False) -> Iterator[str]:
    """Yield the same output as `follow`, as text without the names of calls and programs."""
    decoders: dict[str, IncrementalDecoder] = {}
    for added in follow(part, rank, stderr=stderr):
        decoder = decoders.setdefault(added.path, getincrementaldecoder("utf-8")("replace"))
        if text := decoder.decode(added.data):
            yield text


def follow_lines(part: Part, rank: Rank = 0, *, stderr: bool = False, indexed: bool) -> Iterator[str]:
    """Yield whole lines. With `indexed`, they begin with the call's index in brackets; for all ranks, with the rank.

    Calls that share a log are named by the first and the last index.
    """
    began: dict[tuple[str, str], str] = {}
    decoders: dict[str, IncrementalDecoder] = {}
    for added in follow(part, rank, stderr=stderr):
        first, last = added.calls[0], added.calls[-1]
        name = f"[{first}] " if first == last else f"[{first}-{last}] "
        name = (name if indexed else "") + (f"rank {added.rank}: " if rank == ALL else "")
        decoder = decoders.setdefault(added.path, getincrementaldecoder("utf-8")("replace"))
        *whole, rest = (began.pop((name, added.path), "") + decoder.decode(added.data)).split("\n")
        yield from (f"{name}{line}\n" for line in whole)
        if rest:
            began[name, added.path] = rest
    yield from (f"{name}{rest}\n" for (name, _), rest in began.items())


def _additions(part: Part, logs: _Logs | _CallLogs, ended: threading.Event) -> Iterator[Added]:
    pause, over, trouble = _SHORTEST, None, False
    while True:
        ended.clear()
        begin = time.monotonic()
        if over is None and all(map(part.state.finished, part.indices)):
            over = begin
        last = over is not None and (begin - over > _MOST_AFTER_THE_END or not _lives(part))
        try:
            added = logs.read_more(everything=last)
        except TransportError as error:
            if over is not None and begin - over > _MOST_AFTER_THE_END:
                raise
            if not trouble:
                _log.warning("%s; trying again", error)
            pause, added, last, trouble = _LONGEST, [], False, True
        else:
            pause, trouble = _SHORTEST if added else min(_FACTOR * pause, _LONGEST), False
        yield from added
        if last and not any(len(each.data) == MOST for each in added):
            return
        least = max(_SHORTEST, 3 * (time.monotonic() - begin))
        if not last:
            ended.wait(max(pause, least))
            time.sleep(max(0.0, begin + least - time.monotonic()))


def _lives(part: Part) -> bool:
    """Whether the scheduler has a process of the calls, which have ended. True if it does not answer."""
    try:
        return part.place.tracker.lives(part.state, part.indices)
    except (SchedulerError, TransportError) as error:
        _log.debug("waiting for more output: %s", error)
        return True


class _Logs:
    """The logs of some calls, and how far each has been read. Paths are relative to the submission's directory."""

    def __init__(self, part: Part, rank: Rank, *, stderr: bool) -> None:
        self._part, self._rank, self._stderr = part, rank, stderr
        self._directory = part.place.store.directory(part.state.key)
        self._calls: dict[str, dict[int, None]] = {}
        self._ranks: dict[str, int] = {}
        self._offsets: dict[str, int] = {}
        self._ends: dict[str, bytes] = {}
        self._quiet_since: dict[str, float] = {}
        self._find(part.indices)

    def _find(self, indices: Iterable[int]) -> None:
        """Look up the logs of calls. A call that runs again may have another log, and a rank may begin later."""
        calls = list(indices)
        for index, logs in zip(calls, rank_logs(self._part, self._rank, calls, stderr=self._stderr), strict=True):
            for rank, path in logs.items():
                self._add(path, index, rank)

    def _add(self, path: str, index: int, rank: int) -> None:
        self._calls.setdefault(path, {})[index] = None
        self._ranks[path] = rank
        self._offsets.setdefault(path, 0)

    def read_all(self) -> Iterator[Added]:
        """Yield the current content of the logs, in blocks."""
        paths, store = list(self._offsets), self._part.place.store
        for some in (paths[at : at + _AT_ONCE] for at in range(0, len(paths), _AT_ONCE)):
            full = [f"{self._directory}/{path}" for path in some]
            for path, blocks in zip(some, store.log_blocks(full), strict=True):
                for block in blocks:
                    yield self._added(path, block)

    def read_more(self, *, everything: bool) -> list[Added]:
        """Read what was added since the last reading; without `everything`, only of logs that may still grow."""
        now, finished = time.monotonic(), self._part.state.finished
        self._find(index for index in self._part.indices if everything or not finished(index))
        wanted: dict[str, str] = {}
        for path, calls in self._calls.items():
            since = self._quiet_since.setdefault(path, now) if all(map(finished, calls)) else now
            if everything or now - since < _QUIET:
                wanted[f"{self._directory}/{path}"] = path
        offsets = {full: self._offsets[path] for full, path in wanted.items()}
        found = growth(self._part.place.transport, offsets)
        for full in found:
            self._quiet_since.pop(wanted[full], None)
        return [self._added(wanted[full], data) for full, data in found.items()]

    def _added(self, path: str, data: bytes) -> Added:
        """Note how many bytes were read, and the names in them of files to which programs write."""
        self._offsets[path] += len(data)
        calls = tuple(self._calls[path])
        if path.startswith(f"{LOGS}/"):
            end = self._ends[path] = (self._ends.get(path, b"") + data)[-_END:]
            for index in calls if MARK in end else ():
                for output in output_paths(index, end.decode(errors="replace")):
                    self._add(output, index, self._ranks[path])
        return Added(calls, path, data, self._ranks[path])


class _CallLogs:
    """The output of calls of a pool, as its server reads it, and how far the output of each call has been read."""

    def __init__(self, part: Part, server: Server) -> None:
        self._server, self._finished = server, part.state.finished
        self._offsets = dict.fromkeys(part.indices, 0)

    def read_all(self) -> Iterator[Added]:
        """Yield what was printed so far."""
        yield from self.read_more(everything=True)

    def read_more(self, *, everything: bool) -> list[Added]:
        """Read what was added since the last reading."""
        del everything  # a call that has ended prints nothing more
        found = []
        for index, offset in list(self._offsets.items()):
            finished = self._finished(index)
            if data := self._server.output(index, offset):
                found.append(Added((index,), f"{LOGS}/{index}", data))
                self._offsets[index] += len(data)
            if finished:
                del self._offsets[index]
        return found
