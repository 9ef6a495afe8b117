"""Checks that refuse, with ValueError, values of a submission that would break the supervisor or a monitor."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from slurm.schedulers.local_queue.wire import MOST_TASKS

if TYPE_CHECKING:
    from slurm.schedulers.local_queue.messages import Submission

_MOST = (1 << 31) - 1


def parse_tasks(text: str) -> list[int]:
    """Parse array tasks, up to a limit. A text that names more is refused before its numbers are expanded."""
    expected = f'task numbers such as "0-9,12", at most {MOST_TASKS}'
    try:
        spans = [_span(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(expected) from None
    if not 0 < sum(map(len, spans)) <= MOST_TASKS:
        raise ValueError(expected)
    return [task for span in spans for task in span]


def _span(part: str) -> range:
    low, dash, rest = part.partition("-")
    high, colon, step = rest.partition(":")
    if not all(map(_is_number, [low, *([high] if dash else []), *([step] if colon else [])])):
        raise ValueError(part)
    return range(int(low), int(high or low) + 1, int(step or 1))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def check(submission: Submission) -> None:
    """Check the values of a submission. The types have been checked."""
    try:
        parse_tasks(submission.tasks)
    except ValueError as error:
        message = f"--array={submission.tasks[:200]}: expected {error}"
        raise ValueError(message) from None
    for kind, names in submission.dependencies.items():
        for name in names:
            id_, mark, index = name.partition("_")
            if not (id_.isascii() and id_.isdecimal()) or (mark and not _is_number(index)):
                message = f"--{kind}={name}: expected an id such as 12, or one of its tasks such as 12_3"
                raise ValueError(message)
    sane = {
        "max_concurrent": submission.max_concurrent is None or submission.max_concurrent > 0,
        "cpus": submission.cpus >= 0,
        "seconds": submission.seconds is None or 0 < submission.seconds <= _MOST,
        "umask": 0 <= submission.umask <= 0o777,
        "warning": submission.warning is None or _can_be_sent(submission.warning),
    }
    for name, fits in sane.items():
        if not fits:
            message = f"{name}={getattr(submission, name)}: out of range"
            raise ValueError(message)


def _can_be_sent(warning: list[int]) -> bool:
    return len(warning) == 2 and warning[0] in signal.valid_signals() and 0 <= warning[1] <= _MOST
