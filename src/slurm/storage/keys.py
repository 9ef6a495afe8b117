"""Keys: the names of submissions, which tell the task and the time."""

from __future__ import annotations

import os
import re
import time
from calendar import timegm
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TIME = "%Y%m%dT%H%M%SZ"


def new_key(task: str) -> str:
    """Return a key for a new submission: the task's name, the time in UTC, and random digits."""
    return f"{task_directory_name(task)}/{time.strftime(_TIME, time.gmtime())}-{os.urandom(4).hex()}"


def submitted_at(key: str) -> float | None:
    """The time of submission that a key contains, in whole seconds by the client's clock; None for another form."""
    try:
        return timegm(time.strptime(key.rpartition("/")[2].partition("-")[0], _TIME))
    except ValueError:
        return None


def in_whole_seconds(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield keys that are sorted by time, first at least `size`, then ever more; those of one second together.

    Only the records tell the order of submissions of one second.
    """
    while keys:
        last = submitted_at(keys[:size][-1])
        while size < len(keys) and submitted_at(keys[size]) == last:
            size += 1
        yield keys[:size]
        keys, size = keys[size:], 2 * size


def of_task(keys: Sequence[str], pattern: str) -> list[str]:
    """Return the keys of the tasks whose names match a pattern such as "train*"; `*`, `?` and `[…]` as in a shell."""
    several = any(character in pattern for character in "*?[")
    wanted = re.sub(r"[^A-Za-z0-9_.*?\[\]!-]+", "_", pattern) if several else task_directory_name(pattern)
    return [key for key in keys if fnmatchcase(key.partition("/")[0], wanted)]


def task_directory_name(task: str) -> str:
    """Return the name of the directory that holds a task's submissions."""
    return (re.sub(r"[^A-Za-z0-9_.-]+", "_", task).strip("._-") or "task")[:64]
