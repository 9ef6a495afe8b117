"""Progress reader: read the progress that tasks have reported since the last time, by one command for all."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import TransportError
from slurm.protocol.checking import read
from slurm.protocol.records import Record
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slurm.transports.base import Transport

_MAX_BYTES = 1 << 16
"""The largest number of bytes of one call's new reports that are read. Older reports are skipped."""

_HEAD = re.compile(r"^(?:submission (?P<number>\d+)|= (?P<index>\d+) (?P<begin>\d+))\n", re.MULTILINE)


class ReportedProgress(NamedTuple):
    """The new lines of one call's file, and the offset in the file where they end."""

    call: int
    lines: Sequence[Mapping[str, Any]]
    end: int


class ProgressQuery(NamedTuple):
    """One submission: its `events/`, the calls per element, and the offset in bytes up to which each file was read.

    With 0 calls per element, only the files of the known calls are read.
    """

    directory: str
    chunk: int
    known: Mapping[int, int]


def read_progress(transport: Transport, queries: Sequence[ProgressQuery]) -> list[list[ReportedProgress]]:
    """Read the new reports of each submission's calls. Raises TransportError."""
    steps = [program(__name__, "progress.sh")]
    for number, query in enumerate(queries):
        known = "".join(f"{index} {end}\n" for index, end in query.known.items())
        caches = "yes" if transport.caches(query.directory) else "no"
        arguments = shlex.join([str(number), query.directory, str(query.chunk), str(_MAX_BYTES), caches])
        steps.append(f"read_progress {arguments} <<'.'\n{known}.\n")
    done = transport.run(["sh", "-s"], stdin="".join(steps).encode(), timeout=300)
    if done.status != 0:
        raise TransportError(f"cannot read the progress of jobs: {done.words}")
    found: list[list[ReportedProgress]] = [[] for _ in queries]
    for number, reported in _parse(done.stdout):
        found[number].append(reported)
    return found


def _parse(text: str) -> Iterator[tuple[int, ReportedProgress]]:
    heads = list(_HEAD.finditer(text))
    number = 0
    for head, after in zip(heads, [*heads, None][1:], strict=True):
        if head["number"]:
            number = int(head["number"])
            continue
        data = text[head.end() : after.start() if after else len(text)][:-1]  # without the newline that the script adds
        whole = data[: data.rfind("\n") + 1]  # the last line may be incomplete
        yield number, ReportedProgress(int(head["index"]), list(lines(whole)), int(head["begin"]) + len(whole.encode()))


def lines(text: str) -> Iterator[Mapping[str, Any]]:
    """Parse the complete lines of an `events/<index>.jsonl`; skip damaged ones."""
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue  # damaged, or the rest of a line whose beginning was skipped
        if isinstance(event, dict):
            yield event


def fields(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """The fields of a line, for a ProgressEvent; None if the line is damaged, or is not a progress report."""
    if line.get("event") != "progress":
        return None
    known = {name: line[name] for name in ("time", "attempt", "done", "total", "metrics") if name in line}
    try:
        return read(_Line, known).to_json()
    except (ValueError, TypeError):
        return None


class _Line(Record):
    """The fields of a progress report."""

    time: float = 0.0
    attempt: int = 1
    done: Any
    total: Any = None
    metrics: Mapping[str, Any] = {}

    def flaw(self) -> str | None:
        """The reason why the values are invalid, or None. Unlike other numbers in records, they may be inf or NaN."""
        numbers = [self.done, *([] if self.total is None else [self.total])]
        return None if all(isinstance(number, (int, float)) for number in numbers) else f"{numbers} are not numbers"
