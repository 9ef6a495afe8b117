"""Progress: what tasks have told of it since the last look, by one command for all submissions."""

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

_MOST_BYTES = 1 << 16
"""Of what one call has told since the last look, so many bytes at most, the newest."""

_HEAD = re.compile(r"^(?:submission (?P<number>\d+)|= (?P<index>\d+) (?P<begin>\d+))\n", re.MULTILINE)


class ReportedProgress(NamedTuple):
    """What one call has told since the last look, and up to which byte of its file that is."""

    call: int
    lines: Sequence[Mapping[str, Any]]
    end: int


class Question(NamedTuple):
    """One submission: its `events/`, how many calls an element makes, and what is known of each call's file."""

    directory: str
    chunk: int
    known: Mapping[int, int]


def look(transport: Transport, questions: Sequence[Question]) -> list[list[ReportedProgress]]:
    """What the calls of each submission have told since the last look. Raises TransportError."""
    steps = [program(__name__, "progress.sh")]
    for number, question in enumerate(questions):
        known = "".join(f"{index} {end}\n" for index, end in question.known.items())
        arguments = shlex.join([str(number), question.directory, str(question.chunk), str(_MOST_BYTES)])
        steps.append(f"look {arguments} <<'.'\n{known}.\n")
    done = transport.run(["sh", "-s"], stdin="".join(steps).encode(), timeout=300)
    if done.status != 0:
        message = f"the progress of jobs can't be read: {done.words}"
        raise TransportError(message)
    found: list[list[ReportedProgress]] = [[] for _ in questions]
    for number, told in _parsed(done.stdout):
        found[number].append(told)
    return found


def _parsed(text: str) -> Iterator[tuple[int, ReportedProgress]]:
    heads = list(_HEAD.finditer(text))
    number = 0
    for head, after in zip(heads, [*heads, None][1:], strict=True):
        if head["number"]:
            number = int(head["number"])
            continue
        data = text[head.end() : after.start() if after else len(text)][:-1]  # without the newline that ends it here
        whole = data[: data.rfind("\n") + 1]  # the last line may be half written
        yield number, ReportedProgress(int(head["index"]), list(lines(whole)), int(head["begin"]) + len(whole.encode()))


def lines(text: str) -> Iterator[Mapping[str, Any]]:
    """What the whole lines of an `events/<index>.jsonl` say."""
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue  # damaged, or the end of a line, where what came before was too much
        if isinstance(event, dict):
            yield event


def fields(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a ProgressEvent has of a line; None if that tells of something else, or is damaged."""
    if line.get("event") != "progress":
        return None
    known = {name: line[name] for name in ("time", "attempt", "done", "total", "metrics") if name in line}
    try:
        return read(_Line, known).told()
    except (ValueError, TypeError):
        return None


class _Line(Record):
    """The fields of a line that tells of progress."""

    time: float = 0.0
    attempt: int = 1
    done: Any
    total: Any = None
    metrics: Mapping[str, Any] = {}

    def flaw(self) -> str | None:
        """What can't be true of it. Unlike other numbers in records, these may be infinite, or none."""
        numbers = [self.done, *([] if self.total is None else [self.total])]
        return None if all(isinstance(number, (int, float)) for number in numbers) else f"{numbers} are no numbers"

    def told(self) -> dict[str, Any]:
        """What a ProgressEvent has of it."""
        return dict(self._items())
