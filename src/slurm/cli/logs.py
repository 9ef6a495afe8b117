"""`slurm logs`: print the output of jobs, also while they run."""

from __future__ import annotations

import re
import sys
from codecs import getincrementaldecoder
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from slurm.cli import output
from slurm.cli.cluster_argument import job_of, key_argument, on_option
from slurm.cli.output import json_option, show_json
from slurm.cli.wait import Interrupted
from slurm.jobs.log_following import follow as follow_logs
from slurm.jobs.rank_logs import ALL, check_separate, checked, rank_logs
from slurm.protocol import LOGS
from slurm.protocol.ranges import ranges
from slurm.storage.program_logs import output_paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from slurm.jobs.job import Job, JobArray
    from slurm.jobs.log_following import Added
    from slurm.jobs.rank_logs import Rank

_LOGS = 100
"""The largest number of logs that one round trip reads into memory."""
_END = 1 << 16
"""The number of bytes at the end of a log that are searched for the names of files that programs write to."""
_PART_OF_A_COLOUR = re.compile(r"\x1b(\[[0-9;:]{0,32})?\Z")


@click.command()
@key_argument
@click.option("--follow", "-f", is_flag=True, help="Also print new output, until the job has ended.")
@click.option("--rank", default="0", metavar="N|all", help="The rank, for a task with several ranks, or all ranks.")
@click.option("--stderr", is_flag=True, help="Print standard error, for a task with separate_stderr.")
@on_option
@json_option
def logs(
    key: str,
    follow: bool,  # noqa: FBT001
    rank: str,
    stderr: bool,  # noqa: FBT001
    cluster: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Print the log of the job KEY. For a map, print the log of each call, in order. Calls of one element share a log.

    With --follow, also print new output until the job has ended. For a map, the index of the call is printed before its
    output. Ctrl-C ends the command; the job continues.
    """
    if follow and as_json:
        raise click.UsageError("--follow has no --json: a list ends. Without --follow, --json prints what is there.")
    job = job_of(key, cluster)
    try:
        which = checked(int(rank) if rank.isdecimal() else rank)  # type: ignore[arg-type] # it checks texts, too
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if stderr:
        check_separate(job.parts)
    if shared := _sharing(job):
        output.show_prose([shared], err=True)
    if follow:
        _follow(job, which, stderr=stderr)
    elif as_json:
        found = each_log(job, which, stderr=stderr)
        show_json([{"of": of, "path": path, "text": _text(blocks)} for of, path, blocks in found])
    else:
        _print(job, which, stderr=stderr)


def _sharing(job: Job[Any] | JobArray[Any]) -> str:
    """Say that other calls write to the same log, if that is so."""
    _, state, indices = job.part
    if state.chunk == 1:
        return ""
    elements = {state.element(index) for index in indices}
    sharing = [call for call in range(state.count) if state.element(call) in elements]
    if len(sharing) == len(indices):
        return ""
    return f"calls {ranges(sharing)} of {state.key} share one element, so they share this log"


def _follow(job: Job[Any] | JobArray[Any], rank: Rank, *, stderr: bool) -> None:
    printer = _Printer(job, ranks=rank == ALL)
    try:
        for added in follow_logs(job.part, rank, stderr=stderr):
            printer.print(added)
    except KeyboardInterrupt:
        printer.end_line()
        raise Interrupted("interrupted", [job.key]) from None
    finally:
        printer.flush()


class _Printer:
    """Prints the output of several calls and programs as it arrives. Names the source whenever it changes."""

    def __init__(self, job: Job[Any] | JobArray[Any], *, ranks: bool) -> None:
        self._name, self._several, self._ranks = job.part.state.name, job.is_array or ranks, ranks
        self._last, self._at_start = "" if self._several else f"{LOGS}/", True
        self._raw = not sys.stdout.isatty()
        self._decoders: dict[str, Any] = {}
        self._held: dict[str, str] = {}

    def print(self, added: Added) -> None:
        """Print new output."""
        own = added.path.startswith(f"{LOGS}/")
        source = added.path if self._several or not own else f"{LOGS}/"
        if source != self._last:
            self.end_line()
            first, last = self._name(added.calls[0]), self._name(added.calls[-1])
            names = first if first == last else f"{first} to {last}"
            names += f" rank {added.rank}" if self._ranks else ""
            output.show(f"==> {names}{'' if own else f': {added.path}'} <==")
            self._last = source
        self._at_start = added.data.endswith(b"\n")
        if self._raw:
            output.show_bytes([added.data])
            return
        decoder = self._decoders.setdefault(added.path, getincrementaldecoder("utf-8")("replace"))
        text = self._held.pop(added.path, "") + decoder.decode(added.data)
        if part := _PART_OF_A_COLOUR.search(text):  # the rest of the colour comes with the next output
            self._held[added.path], text = part[0], text[: part.start()]
        output.show(text, nl=False)

    def end_line(self) -> None:
        """Begin a new line, if the last line has not ended."""
        if not self._at_start:
            output.show()
            self._at_start = True

    def flush(self) -> None:
        """Print what was held back."""
        for text in self._held.values():
            output.show(text, nl=False)


class _Log(NamedTuple):
    """A log, or a file that a program writes to."""

    of: list[str]
    """The names of the calls, or of their ranks, that write to this log."""
    path: str
    blocks: Iterator[bytes]
    """The content. Read all of it before the next log."""


def each_log(job: Job[Any] | JobArray[Any], rank: Rank = 0, *, stderr: bool = False) -> Iterator[_Log]:
    """Yield the logs of a job. After each come the files that its programs write to, which the end of the log names."""
    place, watched, indices = job.part
    directory = place.store.directory(watched.key)
    calls: dict[str, list[int]] = {}
    titles: dict[str, list[str]] = {}
    for index, logs in zip(indices, rank_logs(job.part, rank, indices, stderr=stderr), strict=True):
        for each, log in logs.items():
            calls.setdefault(log, []).append(index)
            titles.setdefault(log, []).append(watched.name(index) + (f" rank {each}" if rank == ALL else ""))
    paths = list(calls)
    for part in (paths[at : at + _LOGS] for at in range(0, len(paths), _LOGS)):
        printed: dict[str, str] = {}
        for path, blocks in zip(part, place.store.log_blocks([f"{directory}/{log}" for log in part]), strict=True):
            end = _End(blocks)
            yield _Log(titles[path], path, end.read())
            printed |= {found: watched.name(index) for index in calls[path] for found in output_paths(index, end.text)}
        full = [f"{directory}/{path}" for path in printed]
        for path, blocks in zip(printed, place.store.log_blocks(full), strict=True):
            for first in blocks:  # an empty file was removed
                yield _Log([printed[path]], path, chain([first], blocks))


def _print(job: Job[Any] | JobArray[Any], rank: Rank, *, stderr: bool) -> None:
    several = job.is_array or rank == ALL
    for of, path, blocks in each_log(job, rank, stderr=stderr):
        own = path.startswith(f"{LOGS}/")
        for title in of if several or not own else ():
            output.show(f"==> {title}{'' if own else f': {path}'} <==")
        output.show_bytes(blocks)


def _text(blocks: Iterator[bytes]) -> str:
    return b"".join(blocks).decode(errors="replace")


class _End:
    """Keeps the end of a log while it is read."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks, self._end = blocks, b""

    def read(self) -> Iterator[bytes]:
        """Yield the blocks."""
        for block in self._blocks:
            self._end = (self._end + block)[-_END:]
            yield block

    @property
    def text(self) -> str:
        """The end of what was read."""
        return self._end.decode(errors="replace")
